#pragma once
// What a run shows and leaves behind: the progress line, metrics.jsonl, one log file per rank.
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "core/metrics/line_file.h"

namespace seq1f1b::metrics {

struct StepMetrics {
  std::int64_t step = 0, total_steps = 0;
  double loss = 0;       // mean over the step's tokens, nats
  double grad_norm = 0;  // before clipping
  double learning_rate = 0;
  double step_seconds = 0;
  double tokens_per_second = 0;
  double model_tflops = 0;       // TFLOP/s of the whole job by METHOD's count, causal attention
  double bubble = 0;             // share of the step
  bool bubble_measured = false;  // else simulated
  double eta_seconds = 0;
  std::int64_t consumed_samples = 0;
};

// " 120/1000 | loss 3.2100 | norm 0.84 | lr 3.00e-04 | 412 ms | 19880 tok/s | 0.151 TFLOP/s |
//  bubble 6.5% (simulated) | eta 5m12s"
std::string progress_line(const StepMetrics& metrics);
std::string duration_text(double seconds);  // "42s", "5m12s", "3h07m"

// One JSON object per step, flushed; appended on resume, when a line that a kill has cut short is
// removed first. Numbers read back exactly. JSON has no NaN and no infinity: such a value is null,
// and the field "non_finite" tells which it was, e.g. {"loss": "nan"}.
//
// The constructors of both files throw DataError when the file cannot be opened. Later failures (a
// full disk) are said once on stderr and do not stop the run.
class MetricsFile {
 public:
  MetricsFile(const std::string& path, bool append);
  void write(const StepMetrics& metrics);
  // Any other event: {"event": kind, ...fields of the JSON object `fields`}.
  void write_event(const std::string& kind, const std::string& fields_json);

 private:
  LineFile out_;
};

// The step of the last line about one; nothing where there is none, or no such file.
std::optional<std::int64_t> last_step(const std::string& path);

// RUN/logs/rank_00000.log: every line with time since start. Not for the hot path.
class RankLog {
 public:
  RankLog(const std::string& path, bool append);
  void line(const std::string& text);

 private:
  LineFile out_;
  double start_;
};

// The live line: rewritten in place on a terminal; elsewhere a plain line for the first step, every
// `interval` steps and for the last.
class Progress {
 public:
  // Shows on stdout. mpirun gives every rank a terminal without a size, wherever its own output
  // goes: that counts as none. A launcher that knows better says the width in the environment,
  // SEQ1F1B_PROGRESS=$(tput cols); 0 asks for plain lines.
  explicit Progress(std::int64_t interval);
  // `columns`: width of the terminal behind `out`, 0 for none.
  Progress(std::int64_t interval, std::FILE* out, int columns);
  void show(const StepMetrics& metrics);
  void message(const std::string& text);  // a full line of its own, between progress lines

 private:
  void end_line();

  std::int64_t interval_;
  std::FILE* out_;
  int columns_;
  bool first_ = true;
  bool open_line_ = false;
};

}  // namespace seq1f1b::metrics
