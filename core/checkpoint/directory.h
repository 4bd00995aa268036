#pragma once
// The life of a checkpoint on disk. RUN/checkpoints/step_00000500/ holds one safetensors file per
// layer, index.json (files, sizes, checksums, training state), tokenizer and configuration, and
// COMPLETE, written last. RUN/checkpoints/latest names the newest; it is replaced by rename after
// COMPLETE is on disk. Writing happens in a temporary folder ".tmp-step_00000500"; a crash at any
// moment leaves the previous checkpoint as the newest.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/checkpoint/safetensors.h"
#include "core/comm/channel.h"

namespace seq1f1b::checkpoint {

// What is needed besides tensors to go on exactly where the run stopped.
struct TrainingState {
  std::int64_t step = 0;              // optimizer steps done
  std::int64_t consumed_samples = 0;
  std::int64_t consumed_tokens = 0;
  std::string model_json;             // the resolved model section: compared on load
  std::string extra_json = "{}";      // measured and tuned choices, for later versions
};

// Small files stored beside the tensors, by name, e.g. {"config.resolved.yaml", ...}.
using Attachments = std::map<std::string, std::string>;

class Writer {
 public:
  // Collective. Rank 0 makes a fresh temporary folder (an older one of the same name is removed).
  Writer(const std::string& run_directory, std::int64_t step, comm::Group& group);
  // Any rank, any number of times; names are unique over the ranks.
  void write(const std::string& file_name, const std::vector<StoredTensor>& tensors);
  // Collective: gathers the records, rank 0 writes index.json and attachments, fsyncs, renames, writes
  // COMPLETE, then the marker, and applies the retention. Returns the final path on all ranks. A
  // checkpoint of the same step that is already complete is replaced.
  std::string commit(const TrainingState& state, const Attachments& attachments, int keep_last,
                     std::int64_t keep_every);

 private:
  std::string run_directory_, temporary_;
  std::int64_t step_;
  comm::Group& group_;
  std::vector<FileRecord> records_;
};

// A complete checkpoint, opened for reading. The constructor checks COMPLETE, index.json and the size
// of every listed file; tensors of a file are checked against its checksum when the file is first
// used. Throws DataError with the file and what differs.
class Reader {
 public:
  explicit Reader(const std::string& path);
  const std::string& path() const { return path_; }
  const TrainingState& state() const { return state_; }
  const SafetensorsFile& file(const std::string& name);  // without extension, as in parameters::Row
  bool has_attachment(const std::string& name) const;
  std::string attachment(const std::string& name) const;

 private:
  std::string path_;
  TrainingState state_;
  std::vector<FileRecord> records_;
  std::map<std::string, SafetensorsFile> open_;
};

// The newest complete checkpoint of a run directory; empty when there never was one. Throws DataError
// when there are step folders but none is complete, or the marker names one that is damaged and no
// older complete one exists; falls back to the previous complete one, and says so through `notice`.
std::optional<std::string> find_latest(const std::string& run_directory, std::string* notice);

// Removes complete checkpoints beyond the newest `keep_last` (0: keep all), never multiples of
// `keep_every`, never folders whose name is not exactly "step_" and 8 or more digits.
void apply_retention(const std::string& run_directory, int keep_last, std::int64_t keep_every);

}  // namespace seq1f1b::checkpoint
