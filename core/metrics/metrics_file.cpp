#include <cmath>
#include <nlohmann/json.hpp>

#include "core/base/files.h"
#include "core/metrics/metrics.h"
#include "kernels/common/errors.h"

namespace seq1f1b::metrics {
namespace {

using Json = nlohmann::ordered_json;

void put(Json& object, const char* name, double value) {
  object[name] = value;  // the shortest text that reads back exactly; null when not finite
  if (std::isfinite(value)) return;
  object["non_finite"][name] = std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

}  // namespace

MetricsFile::MetricsFile(const std::string& path, bool append) : out_(path, append) {}

void MetricsFile::write(const StepMetrics& metrics) {
  Json object;
  object["step"] = metrics.step;
  object["total_steps"] = metrics.total_steps;
  object["consumed_samples"] = metrics.consumed_samples;
  put(object, "loss", metrics.loss);
  put(object, "grad_norm", metrics.grad_norm);
  put(object, "learning_rate", metrics.learning_rate);
  put(object, "step_seconds", metrics.step_seconds);
  put(object, "tokens_per_second", metrics.tokens_per_second);
  put(object, "model_tflops", metrics.model_tflops);
  put(object, "bubble", metrics.bubble);
  object["bubble_measured"] = metrics.bubble_measured;
  put(object, "eta_seconds", metrics.eta_seconds);
  out_.write(object.dump());
}

std::optional<std::int64_t> last_step(const std::string& path) {
  if (!base::exists(path)) return std::nullopt;
  const std::string text = base::read_file(path);
  for (std::size_t end = text.size(); end > 0;) {
    const std::size_t newline = text.rfind('\n', end - 1);
    const std::size_t begin = newline == std::string::npos ? 0 : newline + 1;
    const Json line = Json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                                  text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (line.is_object() && !line.contains("event") && line.contains("step") &&
        line["step"].is_number_integer())
      return line["step"].get<std::int64_t>();
    end = newline == std::string::npos ? 0 : newline;
  }
  return std::nullopt;
}

void MetricsFile::write_event(const std::string& kind, const std::string& fields_json) {
  const Json fields = Json::parse(fields_json, nullptr, false);
  SEQ1F1B_ASSERT(fields.is_object(), "event ", kind, " with fields ", fields_json);
  Json object{{"event", kind}};
  for (const auto& [name, value] : fields.items()) object[name] = value;
  out_.write(object.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace seq1f1b::metrics
