#include "core/train/report.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/base/files.h"
#include "core/base/text.h"
#include "core/checkpoint/directory.h"
#include "core/checkpoint/folders.h"
#include "core/config/schema.h"
#include "core/metrics/run_info.h"
#include "core/optimizer/lr_schedule.h"
#include "core/runtime/backend_choice.h"
#include "core/train/agreement.h"
#include "core/train/checkpoint_json.h"
#include "core/train/measured_timeline.h"
#include "kernels/common/errors.h"
#include "kernels/ops.h"

namespace seq1f1b::train {
namespace {

// In which a checkpoint keeps the configuration of its run.
constexpr const char* kSavedConfig = "config.resolved.yaml";

std::string three_decimals(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", readable(value));
  return text;
}

// "2.2M", "1.3B".
std::string count_text(std::int64_t count) {
  char text[32];
  const auto value = static_cast<double>(count);
  if (value >= 1e9)
    std::snprintf(text, sizeof text, "%.2fB", value / 1e9);
  else if (value >= 1e6)
    std::snprintf(text, sizeof text, "%.2fM", value / 1e6);
  else
    std::snprintf(text, sizeof text, "%.0fK", value / 1e3);
  return text;
}

}  // namespace

Report::Report(const config::Loaded& loaded, const plan::JobPlan& job, const Compute& compute,
               comm::Group& all, RunDirectory& directory)
    : loaded_(loaded), job_(job), compute_(compute), all_(all), directory_(directory) {}

void Report::start(const Provenance& provenance, const RunState& state, const plan::RankPlan& plan,
                   bool evaluates) {
  const std::string planned = base::bytes_text(plan.planned_bytes());
  const auto memory = all_.all_gather(planned, [] { return "gathering the planned memory"; });
  for (const auto& [name, text] : libraries()) directory_.log(concat(name, ": ", text));
  directory_.log(concat("device: ", compute_.backend.device->description(), "; planned ", planned,
                        " of device memory, ", base::bytes_text(plan.host_bytes),
                        " of host memory"));
  agree(all_, "writing the run directory", [&] {
    if (all_.rank() == 0)
      metrics::write_run_info(directory_.path() + "/run_info.json",
                              {.command_line = provenance.command_line,
                               .world_size = provenance.world_size,
                               .device = compute_.backend.device->description(),
                               .origins = loaded_.origins,
                               .libraries = libraries()});
    directory_.write("config.resolved.yaml", config::to_yaml(loaded_.config, &loaded_.origins));
    if (state.attention) directory_.write("attention.json", attention_json(*state.attention));
    directory_.write("schedule.svg",
                     simulate::to_svg(job_.training, job_.simulated(false), job_.title()));
    directory_.open_metrics();
    tell_plan(memory, provenance.world_size);
    if (all_.rank() == 0) tell_course(state);
    if (!state.data_change.empty()) {
      directory_.show(concat("other data than the checkpoint's (", state.data_change,
                             "): the samples begin anew"));
      directory_.event("data_change", concat("{\"step\": ", state.step, ", \"changes\": ",
                                             nlohmann::json(state.data_change).dump(), "}"));
    }
    if (!evaluates)
      directory_.show("no evaluation: data.split leaves less than one window for validation");
  });
}

// Where this start takes up the run, and what goes another way from there.
void Report::tell_course(const RunState& state) {
  const bool resumed = !state.checkpoint.empty();
  if (resumed) directory_.show(concat("resumed from ", state.checkpoint, " at step ", state.step));
  const auto last = directory_.last_step();
  const bool back = last && *last > state.step;
  if (back)
    directory_.show(concat("metrics.jsonl goes back from step ", *last, " to step ", state.step));
  if (resumed || back)
    directory_.event(
        resumed ? "resume" : "restart",
        concat("{\"step\": ", state.step, back ? concat(", \"last_step\": ", *last) : "", "}"));
  const auto steps = checkpoint::list_steps(checkpoint::checkpoints_folder(directory_.path()));
  if (!steps.empty() && checkpoint::count_course(directory_.path(), state.course) == 0)
    directory_.note(concat(resumed ? "goes on" : "starts anew", " beside ", steps.size(),
                           steps.size() == 1 ? " checkpoint" : " checkpoints",
                           " of an earlier run, up to ", steps.front().path,
                           "; none is removed, but a step that is saved again is replaced"));
  else if (resumed && !steps.empty() && steps.front().step > state.step)
    directory_.show(concat("checkpoints of later steps stay, up to ", steps.front().path,
                           ", until they are saved again"));
  if (!resumed) return;
  try {
    const checkpoint::Reader reader(state.checkpoint);
    if (!reader.has_attachment(kSavedConfig)) return;
    const std::string change =
        learning_rate_change(reader.attachment(kSavedConfig), loaded_.config, state.step);
    if (!change.empty()) directory_.note(change);
  } catch (const Error& error) {  // of another version: nothing depends on it
    directory_.log(concat("the checkpoint's configuration is not understood: ", error.what()));
  }
}

std::string learning_rate_change(const std::string& saved, const config::Config& config,
                                 std::int64_t step) {
  const config::Config before = config::load_saved(saved, kSavedConfig).config;
  const std::int64_t next = step + 1;
  const auto rate = [&](const config::Config& one) {
    return optimizer::learning_rate(one.optimizer, next, one.training.train_iters);
  };
  if (rate(before) == rate(config)) return "";
  std::vector<std::string> keys;
  for (const config::Field& field : config::schema()) {
    if (field.section != "optimizer" && field.name() != "training.train_iters") continue;
    const std::string was = value_text(field, before), is = value_text(field, config);
    if (was != is) keys.push_back(concat(field.name(), " was ", was, " and is ", is));
  }
  return concat("the learning rate of step ", next, " is ", rate(config), " and would have been ",
                rate(before), " as the checkpoint was going: ", base::join(keys));
}

void Report::tell_plan(const std::vector<std::string>& memory, int world_size) {
  const config::Config& config = loaded_.config;
  directory_.show(concat(config.model.family, " with ", count_text(job_.parameters()),
                         " parameters, ", world_size, " rank", world_size == 1 ? "" : "s", " on ",
                         compute_.backend.device->description()));
  // Ranks that share a GPU are slow, which the line above does not tell.
  if (world_size > 1 && !compute_.backend.device->is_host())
    directory_.show(concat("communication: ", compute_.fabric->description()));
  std::vector<std::string> lengths;
  for (const std::int64_t length : job_.segment_lengths) lengths.push_back(std::to_string(length));
  directory_.show(concat(
      "schedule ", config.schedule.name, ": ", config.parallel.pipeline_model_parallel_size,
      " stages, ", job_.derived.micro_batches, " micro-batches of ",
      config.training.micro_batch_size, " x ", base::join(lengths, "+"),
      " tokens, simulated bubble ", three_decimals(100 * job_.simulated(false).bubble), " %"));
  directory_.show(concat("planned memory by rank: ", base::join(memory)));
}

std::map<std::string, std::string> Report::libraries() const {
  std::map<std::string, std::string> names{{"communication", compute_.fabric->description()}};
  if (const auto* module = runtime::module_of(loaded_.config.runtime))
    names["cuda"] = module->libraries();
  return names;
}

void Report::memory(const plan::RankPlan& plan) {
  const kernels::Device& device = *compute_.backend.device;
  const kernels::Device::Graphs graphs = device.graphs();
  const std::size_t of_operations = compute_.backend.ops->library_bytes();
  const std::size_t of_messages = compute_.fabric->library_bytes();
  after_first_step_ = of_operations;
  if (device.is_host())
    return directory_.log(concat(
        "after the first step: planned ", base::bytes_text(plan.planned_bytes()),
        ", libraries hold ", base::bytes_text(of_operations + of_messages), " beside the plan"));
  directory_.log(
      concat("after the first step: planned ", base::bytes_text(plan.planned_bytes()),
             " of device memory; kernels, libraries, communicators and captured graphs hold ",
             base::bytes_text(of_operations), " of it beside the plan, communication ",
             base::bytes_text(of_messages), " of host memory"));
  if (graphs.count > 0)
    directory_.log(concat("of it ", graphs.count, " captured graphs of actions ",
                          graphs.bytes > 0 ? base::bytes_text(graphs.bytes) : "of unknown size",
                          " (planned: ", plan.training.graphs() + plan.evaluation.graphs(),
                          " graphs, estimated at ", base::bytes_text(plan.graph_bytes), ")"));
}

void Report::growth() const {
  if (compute_.backend.device->is_host()) return;
  const std::size_t now = compute_.backend.ops->library_bytes();
  directory_.log(concat("at the end: kernels, libraries, communicators and captured graphs hold ",
                        now > after_first_step_ ? concat(base::bytes_text(now - after_first_step_),
                                                         " more than after the first step")
                                                : "what they held after the first step"));
}

void Report::measured(const runtime::StageLoop& loop, std::int64_t step) {
  const simulate::Timeline timeline = measured_timeline(loop, all_);
  agree(all_, "drawing the measured step", [&] {
    if (timeline.makespan == 0) return;
    directory_.write(
        "measured.svg",
        simulate::to_svg(job_.training, timeline,
                         concat(job_.title(), ", step ", step, " as measured",
                                compute_.shared ? " (ranks share their cores or GPU)" : "")));
    directory_.show(concat("as measured       ", directory_.path(), "/measured.svg"));
  });
}

void report_evaluation(const Evaluation& evaluation, std::int64_t step, RunDirectory& directory) {
  directory.show(
      concat("step ", step, ": validation loss ", three_decimals(evaluation.loss),
             evaluation.bits_per_byte > 0
                 ? concat(", ", three_decimals(evaluation.bits_per_byte), " bits per byte")
                 : ""));
  directory.event("evaluation", concat("{\"step\": ", step,
                                       ", \"evaluation\": ", evaluation_json(evaluation), "}"));
}

void report_end(const RunState& state, RunDirectory& directory) {
  if (state.evaluation) {
    directory.show(concat("validation loss   ", three_decimals(state.evaluation->loss), " over ",
                          state.evaluation->tokens, " tokens"));
    if (state.evaluation->bits_per_byte > 0)
      directory.show(concat("validation        ", three_decimals(state.evaluation->bits_per_byte),
                            " bits per byte"));
  }
  // A run that was complete elsewhere has drawn nothing here.
  if (base::exists(directory.path() + "/schedule.svg"))
    directory.show(concat("schedule picture  ", directory.path(), "/schedule.svg"));
  directory.show(concat("checkpoint        ", state.checkpoint.empty()
                                                  ? "none: checkpoint.save_interval is -1"
                                                  : state.checkpoint));
}

}  // namespace seq1f1b::train
