#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "core/metrics/metrics.h"
#include "kernels/common/errors.h"

namespace seq1f1b::metrics {
namespace {

int columns_of_stdout() {
  if (const char* wish = std::getenv("SEQ1F1B_PROGRESS")) return std::atoi(wish);
  winsize size{};
  const bool known = ::isatty(STDOUT_FILENO) == 1 && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;
  return known ? size.ws_col : 0;
}

template <class... Values>
std::string format(const char* pattern, Values... values) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), pattern, readable(values)...);
  return text.data();
}

// Three digits that matter, without an exponent for the sizes that occur.
std::string three_digits(double value) {
  const double size = std::abs(value);
  return format("%.*f", size < 9.995 ? (size < 0.9995 ? 3 : 2) : size < 99.95 ? 1 : 0, value);
}

std::string step_time_text(double seconds) {
  if (seconds < 9.9995) return format("%.0f ms", 1e3 * seconds);
  return format("%.1f s", seconds);
}

}  // namespace

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  const auto whole = static_cast<long long>(std::llround(std::fmax(seconds, 0.0)));
  if (whole < 60) return format("%llds", whole);
  if (whole < 3600) return format("%lldm%02llds", whole / 60, whole % 60);
  return format("%lldh%02lldm", whole / 3600, whole / 60 % 60);
}

std::string progress_line(const StepMetrics& metrics) {
  const std::string total = std::to_string(metrics.total_steps);
  std::string line =
      format("%*lld/", static_cast<int>(total.size()), static_cast<long long>(metrics.step));
  line += total;
  line += format(" | loss %.4f", metrics.loss);
  line += format(" | norm %.2f", metrics.grad_norm);
  line += format(" | lr %.2e", metrics.learning_rate);
  line += " | " + step_time_text(metrics.step_seconds);
  line += format(" | %.0f tok/s", metrics.tokens_per_second);
  line += " | " + three_digits(metrics.model_tflops) + " TFLOP/s";
  line += format(" | bubble %.1f%%", 100 * metrics.bubble);
  line += metrics.bubble_measured ? " (measured)" : " (simulated)";
  return line + " | eta " + duration_text(metrics.eta_seconds);
}

Progress::Progress(std::int64_t interval) : Progress(interval, stdout, columns_of_stdout()) {}

Progress::Progress(std::int64_t interval, std::FILE* out, int columns)
    : interval_(interval), out_(out), columns_(columns) {}

void Progress::show(const StepMetrics& metrics) {
  std::string line = progress_line(metrics);
  const bool last = metrics.step == metrics.total_steps;
  if (columns_ > 0) {
    // A line that wraps cannot be rewritten. \x1b[K clears what a longer line has left.
    line.resize(std::min(line.size(), static_cast<std::size_t>(columns_ - 1)));
    std::fprintf(out_, "\r%s\x1b[K", line.c_str());
    open_line_ = true;
    if (last) end_line();
  } else if (first_ || last || metrics.step % interval_ == 0) {
    std::fprintf(out_, "%s\n", line.c_str());
  }
  first_ = false;
  std::fflush(out_);
}

void Progress::message(const std::string& text) {
  end_line();
  std::fprintf(out_, "%s\n", text.c_str());
  std::fflush(out_);
}

void Progress::end_line() {
  if (open_line_) std::fputc('\n', out_);
  open_line_ = false;
}

}  // namespace seq1f1b::metrics
