#include "core/checkpoint/snapshot.h"

#include <algorithm>

#include "core/checkpoint/parameters_io.h"
#include "kernels/common/errors.h"

namespace seq1f1b::checkpoint {

std::size_t FileContents::bytes() const {
  std::size_t sum = 0;
  for (const SavedPiece& piece : pieces) sum += piece.source.bytes();
  return sum;
}

std::vector<FileContents> files_to_save(const parameters::Store& store,
                                        const parameters::Replica& replica) {
  const parameters::Layout& layout = store.layout();
  const std::string shard = layout.shards() > 1 && replica.count > 1
                                ? concat(".", replica.index + 1, "-of-", replica.count)
                                : "";
  std::vector<FileContents> files;
  for (const parameters::Piece& piece : layout.writes(replica)) {
    const parameters::ParameterInfo& info = layout.rows()[piece.row].info;
    const std::string file = info.file + shard;
    if (files.empty() || files.back().file != file) files.push_back({file, {}});
    const auto add = [&](const char* suffix, const kernels::Tensor& source) {
      files.back().pieces.push_back({info.name + suffix, info.shape, piece.first, source});
    };
    add("", store.parameter(piece));
    if (store.purpose() != parameters::Purpose::kTraining) continue;
    add(kFirstMoment, store.first_moment(piece));
    add(kSecondMoment, store.second_moment(piece));
  }
  return files;
}

void Snapshot::take(const FileContents& contents, kernels::Device& device) {
  file_ = contents.file;
  pieces_.clear();
  host_.resize(std::max(host_.size(), contents.bytes()));
  std::byte* next = host_.data();
  for (const SavedPiece& piece : contents.pieces) {
    const std::size_t bytes = piece.source.bytes();
    device.download(next, piece.source.data, bytes);
    pieces_.push_back({piece.name, piece.source.dtype, piece.shape, piece.first, {next, bytes}});
    next += bytes;
  }
}

}  // namespace seq1f1b::checkpoint
