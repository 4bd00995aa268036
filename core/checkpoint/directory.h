#pragma once
// The life of a checkpoint on disk. RUN/checkpoints/step_00000500/ holds one safetensors file per
// layer, index.json (training state, files and tensors with their checksums), tokenizer and
// configuration, and COMPLETE, written last. RUN/checkpoints/latest names the newest; it is
// replaced by rename after COMPLETE is on disk. Writing happens in a temporary folder
// ".tmp-step_00000500"; a crash at any moment leaves the previous checkpoint as the newest.
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "core/checkpoint/safetensors.h"
#include "core/comm/group.h"

namespace seq1f1b::checkpoint {

// What is needed besides tensors to go on exactly where the run stopped.
struct TrainingState {
  std::int64_t step = 0;  // optimizer steps done
  std::int64_t consumed_samples = 0;
  std::int64_t consumed_tokens = 0;
  // Which course of training in its run directory: 0, and the next number (next_course) for a run
  // that starts anew beside checkpoints of earlier ones. The retention leaves those alone.
  std::int64_t course = 0;
  // Objects that this folder carries and does not read; see train/checkpoint_json.h.
  std::string model_json = "{}";
  std::string extra_json = "{}";
};

// Small files stored beside the tensors, by name, e.g. {"config.resolved.yaml", ...}.
using Attachments = std::map<std::string, std::string>;

// A box of a tensor whose elements lie together, row-major, in one file.
struct TensorPart {
  std::string file;                         // as in FileRecord
  std::vector<std::int64_t> offset, shape;  // in elements of the tensor, one for each dimension
  // Its first byte in the file and the checksum of its bytes; version 1 of index.json has neither,
  // there the checksum of the file stands for its tensors.
  std::optional<std::uint64_t> begin;
  std::string checksum;
};

// One line of index.json's list of tensors, for tools that look without opening the files.
struct TensorEntry {
  std::string name;
  std::string dtype;  // as safetensors spells it; it may be one that this program does not know
  std::vector<std::int64_t> shape;
  std::vector<TensorPart> parts;  // one or more; this program reads one, the whole

  bool whole() const;  // one part that is all of it
};

struct Index;  // index.h

// What came of one file.
struct FileResult {
  FileRecord file;
  std::vector<TensorEntry> tensors;
  std::string failure;  // what the disk refused; empty: all is written and synced
};
class FileJob;   // file_job.h
class Snapshot;  // snapshot.h

// The third of a save's three parts, what the ranks agree on: the folder before the files, and the
// commit behind them. Files are written by jobs in between, which need not be on this thread.
//
// A DataError of one rank, a full disk for instance, is thrown by the next collective call on all
// ranks, with the same message; what was complete before stays complete. A disk that does not
// answer ends the job (Group::watch): every piece of a file is a step that comes on.
class Writer {
 public:
  // Collective. Rank 0 clears away what interrupted saves have left and makes a fresh temporary
  // folder. `observer` sees every step that this rank takes on the disk; tests stop there.
  Writer(const std::string& run_directory, std::int64_t step, comm::Group& group,
         base::DiskObserver observer = {});
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  // The job that writes a file into this checkpoint. Any rank, any number of times; names of files
  // are unique over the ranks, and the pieces of all cover each tensor once. The snapshot stays as
  // it is until the job has run, and add() takes its result, on this thread.
  FileJob job(const Snapshot& snapshot) const;
  void add(FileResult result);
  // Runs the job here and now, watched over. After a failure, which commit() reports, nothing more
  // is written.
  void write(const Snapshot& snapshot);
  // Whole tensors. `file` is without extension, as in parameters::ParameterInfo.
  void write(const std::string& file, const std::vector<StoredTensor>& tensors);
  // Collective: gathers the records, rank 0 writes index.json and attachments, fsyncs, renames,
  // writes COMPLETE, then the marker, and applies the retention. Returns the final path on all
  // ranks. A checkpoint of the same step that is already complete is replaced.
  std::string commit(const TrainingState& state, const Attachments& attachments, int keep_last,
                     std::int64_t keep_every);

 private:
  void run(const FileJob& job);
  void announce(std::string_view step, const std::string& path) const;
  void attempt(const char* what, const std::function<void()>& body);
  void agree(const char* what);
  void publish(Index index, const Attachments& attachments);

  std::string run_directory_, checkpoints_, temporary_, final_;
  std::int64_t step_;
  comm::Group& group_;
  base::DiskObserver observer_;
  std::unique_ptr<comm::Watch> watch_;  // during an attempt
  base::Disk disk_;
  std::string failure_;  // of this rank, not yet reported
  std::vector<FileRecord> records_;
  std::vector<TensorEntry> tensors_;
};

// A complete checkpoint, opened for reading. The constructor checks COMPLETE, index.json and the
// size of every listed file; a tensor is checked against the index when it is first used, and only
// that tensor is read (of a version-1 checkpoint, its file). Throws DataError with the file and
// what differs.
class Reader {
 public:
  // `observer` sees "read" and the file before each piece that is read: a tensor, or a file of
  // version 1.
  explicit Reader(const std::string& path, base::DiskObserver observer = {});
  const std::string& path() const { return path_; }
  const TrainingState& state() const { return state_; }
  const std::vector<TensorEntry>& tensors() const { return tensors_; }
  // Throws DataError where there is no such tensor, or it is damaged or not stored whole.
  const StoredTensor& tensor(const std::string& name);
  bool has_tensor(const std::string& name) const { return places_.contains(name); }
  bool has_attachment(const std::string& name) const;
  std::string attachment(const std::string& name) const;

 private:
  const SafetensorsFile& open(const TensorPart& part);

  std::string path_;
  TrainingState state_;
  std::vector<FileRecord> records_;  // tensors and attachments
  std::vector<TensorEntry> tensors_;
  std::map<std::string, std::size_t> places_;  // in tensors_, by name
  std::map<std::string, SafetensorsFile> open_;
  std::set<std::string> checked_;  // tensors
  base::DiskObserver observer_;
};

// The checkpoint to go on from: the one that the marker names. Empty when there never was one. When
// it was never finished, the newest complete one before it; when there is no readable marker, the
// newest complete one of all; either is said through `notice`, as are newer ones that the marker
// passes over. Throws DataError when a checkpoint that was complete is damaged (and names the one
// before), or when there are step folders or a marker, but nothing is found so. Looks at COMPLETE,
// index.json and sizes; checksums of files are the Reader's.
std::optional<std::string> find_latest(const std::string& run_directory, std::string* notice);

// The number of a course that does not go on from a checkpoint of the run directory.
std::int64_t next_course(const std::string& run_directory);
// How many complete checkpoints of a course there are.
std::int64_t count_course(const std::string& run_directory, std::int64_t course);
// Those of them that the retention removes in their turn when the run goes on from `step`: none
// after it, no multiples of `keep_every` (0: none are kept for good), no links.
std::int64_t count_removable(const std::string& run_directory, std::int64_t course,
                             std::int64_t step, std::int64_t keep_every);

// Calls `use` with the path of find_latest, and again with the then latest where `use` throws a
// DataError because the retention of a run that goes on has removed the checkpoint meanwhile; that
// is said through `notice`, too. False when there never was one.
bool use_latest(const std::string& run_directory,
                const std::function<void(const std::string& notice)>& notice,
                const std::function<void(const std::string& path)>& use);

// Removes complete checkpoints of the course of the one that the marker names, beyond the newest
// `keep_last` (0: keep all), counted apart up to the marker's step and after it, never multiples of
// `keep_every`, never the marker's own, never links, never folders whose name is not exactly
// "step_" and 8 or more digits. What cannot be removed stays, in a temporary folder that the next
// save clears away.
void apply_retention(const std::string& run_directory, int keep_last, std::int64_t keep_every,
                     const base::Disk& disk = base::Disk());

}  // namespace seq1f1b::checkpoint
