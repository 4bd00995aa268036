#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "core/checkpoint/directory.h"
#include "core/checkpoint/file_job.h"
#include "core/checkpoint/folders.h"
#include "core/checkpoint/index.h"
#include "kernels/common/errors.h"

namespace seq1f1b::checkpoint {
namespace {

// A rank's report begins with one of these.
constexpr char kGood = '+', kBad = '-';

// The index does not show which rank wrote what, so that it is the same for every layout.
void sort_by_file(Index& index) {
  std::sort(index.files.begin(), index.files.end(),
            [](const FileRecord& a, const FileRecord& b) { return a.name < b.name; });
  std::stable_sort(index.tensors.begin(), index.tensors.end(),
                   [](const TensorEntry& a, const TensorEntry& b) {
                     return a.parts.front().file < b.parts.front().file;
                   });
}

void check_unique(const std::vector<FileRecord>& files) {
  std::set<std::string> names;
  for (const FileRecord& file : files)
    SEQ1F1B_ASSERT(names.insert(file.name).second, "file written twice: ", file.name);
}

bool overlap(const TensorPart& a, const TensorPart& b) {
  for (std::size_t i = 0; i < a.shape.size(); ++i)
    if (a.offset[i] + a.shape[i] <= b.offset[i] || b.offset[i] + b.shape[i] <= a.offset[i])
      return false;
  return true;
}

// One entry of each tensor, with the parts of all ranks, which must cover it exactly once.
void join_parts(std::vector<TensorEntry>& tensors) {
  std::vector<TensorEntry> joined;
  std::map<std::string, std::size_t> places;
  for (TensorEntry& tensor : tensors) {
    const auto [place, first] = places.emplace(tensor.name, joined.size());
    if (first) {
      joined.push_back(std::move(tensor));
      continue;
    }
    TensorEntry& whole = joined[place->second];
    SEQ1F1B_ASSERT(whole.dtype == tensor.dtype && whole.shape == tensor.shape, "parts of ",
                   tensor.name, " differ in type or shape");
    for (TensorPart& part : tensor.parts) {
      for (const TensorPart& other : whole.parts)
        SEQ1F1B_ASSERT(!overlap(part, other), "tensor written twice: ", tensor.name);
      whole.parts.push_back(std::move(part));
    }
  }
  for (const TensorEntry& tensor : joined) {
    std::int64_t covered = 0;
    for (const TensorPart& part : tensor.parts) covered += element_count(part.shape);
    SEQ1F1B_ASSERT(covered == element_count(tensor.shape),
                   "tensor not written whole: ", tensor.name);
  }
  tensors = std::move(joined);
}

}  // namespace

Writer::Writer(const std::string& run_directory, std::int64_t step, comm::Group& group,
               base::DiskObserver observer)
    : run_directory_(run_directory),
      checkpoints_(checkpoints_folder(run_directory)),
      temporary_(checkpoints_ + "/" + kTemporaryPrefix + step_name(step)),
      final_(checkpoints_ + "/" + step_name(step)),
      step_(step),
      group_(group),
      observer_(std::move(observer)),
      disk_([this](std::string_view step, const std::string& path) { announce(step, path); }) {
  if (group_.rank() == 0)
    attempt("making the folder of a checkpoint", [&] {
      disk_.make_directory(checkpoints_);
      disk_.sync_directory(run_directory_);
      recover(checkpoints_, disk_);
      disk_.make_directory(temporary_);
    });
  agree("making the folder of a checkpoint");
}

void Writer::announce(std::string_view step, const std::string& path) const {
  if (watch_) watch_->next(concat(step, " ", path));
  if (observer_) observer_(step, path);
}

FileJob Writer::job(const Snapshot& snapshot) const { return {temporary_, snapshot}; }

void Writer::add(FileResult result) {
  if (!failure_.empty()) return;
  failure_ = std::move(result.failure);
  if (!failure_.empty()) return;
  records_.push_back(std::move(result.file));
  std::ranges::move(result.tensors, std::back_inserter(tensors_));
}

void Writer::run(const FileJob& job) {
  attempt("writing a checkpoint", [&] {
    add(job.run([this](std::string_view step, const std::string& path) { announce(step, path); }));
  });
}

void Writer::write(const Snapshot& snapshot) { run(job(snapshot)); }

void Writer::write(const std::string& file, const std::vector<StoredTensor>& tensors) {
  std::vector<StoredPiece> pieces;
  for (const StoredTensor& tensor : tensors)
    pieces.push_back({tensor.name, tensor.dtype, tensor.shape, 0, tensor.data});
  run(FileJob(temporary_, file, pieces));
}

std::string Writer::commit(const TrainingState& state, const Attachments& attachments,
                           int keep_last, std::int64_t keep_every) {
  SEQ1F1B_ASSERT(state.step == step_, "step ", state.step, " in the checkpoint of step ", step_);
  agree("writing a checkpoint");
  const auto all_records = group_.all_gather(records_text(records_, tensors_), [&] {
    return concat("gathering the index of a checkpoint (step ", step_, ")");
  });
  Index index{state, {}, {}};
  for (const std::string& records : all_records) add_records(records, index);
  check_unique(index.files);
  join_parts(index.tensors);
  if (group_.rank() == 0)
    attempt("publishing a checkpoint", [&] {
      publish(std::move(index), attachments);
      apply_retention(run_directory_, keep_last, keep_every, disk_);
    });
  agree("publishing a checkpoint");
  return final_;
}

void Writer::publish(Index index, const Attachments& attachments) {
  for (const auto& [name, text] : attachments) {
    disk_.write_file(temporary_ + "/" + name, text);
    index.files.push_back({name, text.size(), text_checksum(text)});
  }
  sort_by_file(index);
  const std::string text = index_text(index);
  disk_.write_file(temporary_ + "/index.json", text);
  disk_.sync_directory(temporary_);

  const std::string replaced = checkpoints_ + "/" + kReplacedPrefix + step_name(step_);
  if (is_complete(final_))
    disk_.rename(final_, replaced);
  else
    disk_.remove_tree(final_);
  disk_.rename(temporary_, final_);
  disk_.sync_directory(checkpoints_);
  disk_.write_file(final_ + "/COMPLETE", completion_text(text));
  disk_.sync_directory(final_);
  disk_.replace_file(checkpoints_ + "/" + kMarker, step_name(step_) + "\n");
  disk_.remove_tree(replaced);
}

void Writer::attempt(const char* what, const std::function<void()>& body) {
  if (!failure_.empty()) return;
  watch_ = group_.watch(concat(what, " of step ", step_));
  try {
    body();
  } catch (const DataError& error) {
    failure_ = error.what();
  }
  watch_.reset();
}

void Writer::agree(const char* what) {
  const std::string mine = failure_.empty() ? std::string(1, kGood) : kBad + failure_;
  const auto reports = group_.all_gather(mine, [&] { return concat(what, " (step ", step_, ")"); });
  std::string message;
  for (std::size_t rank = 0; rank < reports.size(); ++rank)
    if (reports[rank].front() == kBad)
      message += concat(message.empty() ? "" : "; ", "rank ", rank, ": ", reports[rank].substr(1));
  if (message.empty()) return;
  if (group_.rank() == 0) {
    // Gives the space of the failed attempt back at once: the cause is often a full disk. What
    // cannot be removed now is cleared away by the next save.
    const auto watch = group_.watch("clearing away a checkpoint that was not saved");
    try {
      disk_.remove_tree(temporary_);
    } catch (const DataError&) {
    }
  }
  throw DataError(concat("checkpoint of step ", step_, " not saved: ", message));
}

}  // namespace seq1f1b::checkpoint
