// Files written away from the main thread, and pieces of tensors that several ranks write.
#include "core/checkpoint/file_job.h"

#include <cstring>
#include <thread>

#include "core/checkpoint/index.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/checkpoint/example.h"
#include "tests/core/checkpoint/solo_group.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::checkpoint;
using namespace seq1f1b::testing;

TEST_CASE("Every piece of a flattened tensor is boxes that follow one another") {
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{7}, {3, 4}, {4, 1}, {1, 5}, {2, 3, 4}}) {
    std::int64_t all = 1;
    for (const std::int64_t extent : shape) all *= extent;
    for (std::int64_t first = 0; first < all; ++first)
      for (std::int64_t count = 1; first + count <= all; ++count) {
        const auto boxes = boxes_of(shape, first, count);
        std::vector<std::int64_t> elements;
        for (const Box& box : boxes)
          for (std::int64_t i = 0; i < box.elements(); ++i) {
            std::int64_t rest = i, stride = 1, place = 0;
            for (std::size_t axis = shape.size(); axis-- > 0;) {
              place += (box.offset[axis] + rest % box.shape[axis]) * stride;
              rest /= box.shape[axis];
              stride *= shape[axis];
            }
            elements.push_back(place);
          }
        REQUIRE(elements.size() == static_cast<std::size_t>(count));
        for (std::size_t i = 0; i < elements.size(); ++i)
          REQUIRE(elements[i] == first + static_cast<std::int64_t>(i));
        REQUIRE(boxes.size() <= 2 * shape.size() - 1);
      }
    CHECK(boxes_of(shape, 0, all).size() == 1);
  }
}

TEST_CASE("A job on another thread writes, and what it cannot write the commit tells") {
  const TemporaryFolder run;
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const auto bytes = std::as_bytes(std::span(values));
  SoloGroup group;
  for (const bool fails : {true, false}) {
    Writer writer(run.path(), 7, group);
    // A matrix cut within its rows, in two files.
    const std::string folder = run.file("checkpoints/.tmp-step_00000007");
    const std::vector<StoredPiece> head{{"a", kernels::Dtype::kF32, {2, 3}, 0, bytes.first(16)}};
    const std::vector<StoredPiece> tail{{"a", kernels::Dtype::kF32, {2, 3}, 4, bytes.subspan(16)}};
    std::vector<FileResult> results(2);
    int steps = 0;
    std::thread([&] {
      const auto progress = [&](std::string_view step, const std::string&) {
        ++steps;
        if (fails && step == "sync_file") throw DataError("the disk is gone");
      };
      results[0] = FileJob(folder, "a.1-of-2", head).run(progress);
      results[1] = FileJob(folder, "a.2-of-2", tail).run(progress);
    }).join();
    CHECK(steps > 4);
    for (FileResult& result : results) writer.add(std::move(result));
    if (fails) {
      CHECK(message_of<DataError>([&] {
              writer.commit({.step = 7}, {}, 0, 0);
            }).find("rank 0: the disk is gone") != std::string::npos);
      CHECK(find_latest(run.path(), nullptr) == std::nullopt);
      continue;
    }
    const std::string path = writer.commit({.step = 7}, {}, 0, 0);
    const Reader reader(path);
    REQUIRE(reader.tensors().size() == 1);
    const TensorEntry& entry = reader.tensors().front();
    CHECK(entry.shape == std::vector<std::int64_t>{2, 3});
    REQUIRE(entry.parts.size() == 3);
    // As a tool finds them, with neither headers nor names of the files.
    std::string found;
    for (const TensorPart& part : entry.parts) {
      const std::string text = read_bytes(path + "/" + part.file);
      const auto count = static_cast<std::size_t>(part.shape[0] * part.shape[1]) * sizeof(float);
      found += text.substr(*part.begin, count);
      CHECK(text_checksum(text.substr(*part.begin, count)) == part.checksum);
    }
    CHECK(found == std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }
}

TEST_CASE("A tensor that is not written exactly once is no checkpoint") {
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const auto bytes = std::as_bytes(std::span(values));
  for (const bool twice : {true, false}) {
    const TemporaryFolder run;
    SoloGroup group;
    Writer writer(run.path(), 7, group);
    const std::string folder = run.file("checkpoints/.tmp-step_00000007");
    const std::vector<StoredPiece> head{{"a", kernels::Dtype::kF32, {6}, 0, bytes.first(16)}};
    writer.add(FileJob(folder, "x", head).run({}));
    if (twice) writer.add(FileJob(folder, "y", head).run({}));
    CHECK_THROWS_AS(writer.commit({.step = 7}, {}, 0, 0), InternalError);
  }
}
