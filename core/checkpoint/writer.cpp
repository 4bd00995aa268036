#include <algorithm>
#include <set>

#include "core/checkpoint/directory.h"
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

void check_unique(const Index& index) {
  std::set<std::string> names;
  for (const FileRecord& file : index.files)
    SEQ1F1B_ASSERT(names.insert(file.name).second, "file written twice: ", file.name);
  names.clear();
  for (const TensorEntry& tensor : index.tensors)
    SEQ1F1B_ASSERT(names.insert(tensor.name).second, "tensor written twice: ", tensor.name);
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
      disk_([this, observer = std::move(observer)](std::string_view step, const std::string& path) {
        if (watch_) watch_->next(concat(step, " ", path));
        if (observer) observer(step, path);
      }) {
  if (group_.rank() == 0)
    attempt("making the folder of a checkpoint", [&] {
      disk_.make_directory(checkpoints_);
      disk_.sync_directory(run_directory_);
      recover(checkpoints_, disk_);
      disk_.make_directory(temporary_);
    });
  agree("making the folder of a checkpoint");
}

void Writer::write(const std::string& file, const std::vector<StoredTensor>& tensors) {
  SEQ1F1B_ASSERT(!file.ends_with(kTensorExtension), file, " is named with its extension");
  attempt("writing a checkpoint", [&] {
    const WrittenFile written = write_safetensors(concat(temporary_, "/", file, kTensorExtension),
                                                  tensors, {{"format", "seq1f1b"}}, disk_);
    records_.push_back(written.file);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const StoredTensor& tensor = tensors[i];
      TensorPart whole{written.file.name, std::vector<std::int64_t>(tensor.shape.size(), 0),
                       tensor.shape, written.tensors[i].begin, written.tensors[i].checksum};
      tensors_.push_back(
          {tensor.name, stored_name(tensor.dtype), tensor.shape, {std::move(whole)}});
    }
  });
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
  check_unique(index);
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
