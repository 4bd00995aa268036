#include "core/checkpoint/file_job.h"

#include <algorithm>

#include "core/checkpoint/index.h"
#include "kernels/common/errors.h"

namespace seq1f1b::checkpoint {
namespace {

// The boxes of [first, first + count) within dimensions `axis` and after, at `offset` in those
// before.
void add_boxes(const std::vector<std::int64_t>& shape, std::size_t axis,
               std::vector<std::int64_t> offset, std::int64_t first, std::int64_t count,
               std::vector<Box>& boxes) {
  if (count == 0) return;
  const std::int64_t row =
      element_count(std::span(shape).subspan(std::min(axis + 1, shape.size())));
  const auto inner = [&](std::int64_t index, std::int64_t from, std::int64_t elements) {
    offset[axis] = index;
    add_boxes(shape, axis + 1, offset, from, elements, boxes);
    offset[axis] = 0;
  };
  if (first % row != 0) {
    const std::int64_t head = std::min(count, row - first % row);
    inner(first / row, first % row, head);
    first += head;
    count -= head;
  }
  if (const std::int64_t whole = count / row; whole > 0) {
    Box box{offset, std::vector<std::int64_t>(axis, 1)};
    if (!shape.empty()) {
      box.offset[axis] = first / row;
      box.shape.push_back(whole);
      box.shape.insert(box.shape.end(), shape.begin() + static_cast<std::ptrdiff_t>(axis) + 1,
                       shape.end());
    }
    boxes.push_back(std::move(box));
  }
  if (count % row != 0) inner((first + count) / row, 0, count % row);
}

TensorEntry entry_of(const StoredPiece& piece, const std::string& file,
                     const TensorRecord& written) {
  TensorEntry entry{piece.name, stored_name(piece.dtype), piece.shape, {}};
  const std::size_t element = kernels::dtype_bytes(piece.dtype);
  const auto boxes =
      boxes_of(piece.shape, piece.first, static_cast<std::int64_t>(piece.data.size() / element));
  std::size_t at = 0;
  for (const Box& box : boxes) {
    const std::size_t bytes = static_cast<std::size_t>(box.elements()) * element;
    std::string checksum = written.checksum;
    if (boxes.size() > 1) {
      Checksum alone;
      alone.update(piece.data.subspan(at, bytes));
      checksum = alone.hex();
    }
    entry.parts.push_back({file, box.offset, box.shape, written.begin + at, std::move(checksum)});
    at += bytes;
  }
  return entry;
}

}  // namespace

std::int64_t Box::elements() const { return element_count(shape); }

std::vector<Box> boxes_of(const std::vector<std::int64_t>& shape, std::int64_t first,
                          std::int64_t count) {
  SEQ1F1B_ASSERT(first >= 0 && count > 0 && first + count <= element_count(shape), count,
                 " elements from ", first, " of ", element_count(shape));
  std::vector<Box> boxes;
  add_boxes(shape, 0, std::vector<std::int64_t>(shape.size()), first, count, boxes);
  return boxes;
}

FileJob::FileJob(std::string folder, std::string file, std::span<const StoredPiece> pieces)
    : folder_(std::move(folder)), file_(std::move(file)), pieces_(pieces) {
  SEQ1F1B_ASSERT(!file_.ends_with(kTensorExtension), file_, " is named with its extension");
}

FileResult FileJob::run(const base::DiskObserver& progress) const {
  FileResult result;
  std::vector<StoredTensor> tensors;
  for (const StoredPiece& piece : pieces_) {
    const auto count =
        static_cast<std::int64_t>(piece.data.size() / kernels::dtype_bytes(piece.dtype));
    const bool whole = count == element_count(piece.shape);
    tensors.push_back({piece.name, piece.dtype,
                       whole ? piece.shape : std::vector<std::int64_t>{count}, piece.data});
  }
  try {
    const base::Disk disk(progress);
    const WrittenFile written = write_safetensors(concat(folder_, "/", file_, kTensorExtension),
                                                  tensors, {{"format", "seq1f1b"}}, disk);
    for (std::size_t i = 0; i < pieces_.size(); ++i)
      result.tensors.push_back(entry_of(pieces_[i], written.file.name, written.tensors[i]));
    result.file = written.file;
  } catch (const DataError& error) {
    result.failure = error.what();
  }
  return result;
}

}  // namespace seq1f1b::checkpoint
