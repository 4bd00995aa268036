#include "core/checkpoint/directory.h"

#include <future>

#include "core/comm/world.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/checkpoint/example.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::checkpoint;
using namespace seq1f1b::testing;

namespace fs = std::filesystem;

namespace {

void flip_byte(const std::string& path, std::size_t offset) {
  std::string bytes = read_bytes(path);
  bytes.at(offset) = static_cast<char>(bytes[offset] ^ 1);
  write_bytes(path, bytes);
}

// Two ranks save one file each; every rank's result: the path or the error's text.
std::vector<std::string> save_with_two_ranks(const std::string& run, std::int64_t step, int content,
                                             int observed_rank,
                                             const base::DiskObserver& observer) {
  auto worlds = comm::make_in_process_worlds(2);
  const auto rank_main = [&](int rank) -> std::string {
    const std::vector<int> members{0, 1};
    auto group = worlds[static_cast<std::size_t>(rank)]->make_group(members);
    try {
      Writer writer(run, step, *group, rank == observed_rank ? observer : base::DiskObserver());
      write_example_file(writer, content, rank);
      return writer.commit(example_state(step, content),
                           {{"note.txt", "content " + std::to_string(content)}}, 0, 0);
    } catch (const DataError& error) {
      return error.what();
    }
  };
  auto other = std::async(std::launch::async, rank_main, 1);
  std::string first = rank_main(0);
  return {std::move(first), other.get()};
}

}  // namespace

TEST_CASE("What one save writes, a reader gives back") {
  const TemporaryFolder run;
  const std::string path = save_example(run.path(), 500, 3);
  CHECK(path == run.file("checkpoints/step_00000500"));
  CHECK(read_example(path) == 3);
  CHECK(read_bytes(run.file("checkpoints/latest")) == "step_00000500\n");
  CHECK(find_latest(run.path(), nullptr) == path);

  const Reader reader(path + "/");
  CHECK(reader.path() == path);
  const TrainingState expected = example_state(500, 3);
  CHECK(reader.state().step == expected.step);
  CHECK(reader.state().consumed_samples == expected.consumed_samples);
  CHECK(reader.state().consumed_tokens == expected.consumed_tokens);
  CHECK(reader.state().model_json == expected.model_json);
  CHECK(reader.state().extra_json == expected.extra_json);
  CHECK(reader.has_attachment("note.txt"));
  CHECK_FALSE(reader.has_attachment("absent.txt"));
  CHECK_THROWS_AS(reader.attachment("absent.txt"), DataError);
  REQUIRE(reader.tensors().size() == 2);
  CHECK(reader.tensors()[1].name == "layers.1.weight");
  CHECK(reader.tensors()[1].shape == std::vector<std::int64_t>{2, 3});
  CHECK(reader.tensors()[1].file == "layers.0001");

  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{"COMPLETE", "index.json", "layers.0000.safetensors",
                                          "layers.0001.safetensors", "note.txt"});
}

TEST_CASE("The same contents give the same bytes") {
  const TemporaryFolder a, b;
  const std::string in_a = save_example(a.path(), 7, 1), in_b = save_example(b.path(), 7, 1);
  for (const auto& entry : fs::directory_iterator(in_a))
    CHECK(read_bytes(entry.path()) == read_bytes(in_b + "/" + entry.path().filename().string()));
}

TEST_CASE("A checkpoint does not show how many ranks wrote it") {
  const TemporaryFolder one, two;
  const std::string alone = save_example(one.path(), 7, 1);
  const std::string together = save_with_two_ranks(two.path(), 7, 1, 0, {})[1];
  for (const auto& entry : fs::directory_iterator(alone))
    CHECK(read_bytes(entry.path()) ==
          read_bytes(together + "/" + entry.path().filename().string()));
}

TEST_CASE("Damage is refused with the file and what differs") {
  const TemporaryFolder run;
  const std::string path = save_example(run.path(), 1, 3);
  const std::string file = path + "/layers.0001.safetensors", index = path + "/index.json";
  const auto refusal = [&] { return message_of<DataError>([&] { read_example(path); }); };

  SECTION("truncated file") {
    const auto bytes = fs::file_size(file);
    fs::resize_file(file, bytes - 1);
    CHECK(refusal() == concat(file, ": has ", bytes - 1, " bytes, index.json says ", bytes,
                              ": the file is truncated"));
  }
  SECTION("longer file") {
    const auto bytes = fs::file_size(file);
    fs::resize_file(file, bytes + 1);
    CHECK(refusal() == concat(file, ": has ", bytes + 1, " bytes, index.json says ", bytes,
                              ": the file was altered"));
  }
  SECTION("flipped byte in a tensor") {
    const std::string before = file_checksum(file);
    flip_byte(file, fs::file_size(file) - 1);
    CHECK(refusal() == concat(file, ": checksum is ", file_checksum(file), ", index.json says ",
                              before, ": the file was altered or damaged"));
    Reader reader(path);
    CHECK_NOTHROW(reader.file("layers.0000"));  // the others stay readable
  }
  SECTION("flipped byte in an attachment") {
    flip_byte(path + "/note.txt", 0);
    CHECK(refusal().find(path + "/note.txt: checksum is ") == 0);
  }
  SECTION("missing file") {
    const auto bytes = fs::file_size(file);
    fs::remove(file);
    CHECK(refusal() == concat(file,
                              ": missing or unreadable (No such file or directory); "
                              "index.json lists it with ",
                              bytes, " bytes"));
  }
  SECTION("missing COMPLETE") {
    fs::remove(path + "/COMPLETE");
    CHECK(refusal() == path + ": COMPLETE is missing: the checkpoint was not finished");
  }
  SECTION("altered index.json") {
    const std::string before = file_checksum(index);
    flip_byte(index, 10);
    CHECK(refusal() == concat(index, ": checksum is ", file_checksum(index), ", COMPLETE says ",
                              before, ": one of the two was altered or damaged"));
  }
  SECTION("index.json of another version, with a fitting COMPLETE") {
    std::string text = read_bytes(index);
    text.replace(text.find("\"version\": 1"), 12, "\"version\": 9");
    write_bytes(index, text);
    write_bytes(path + "/COMPLETE", text_checksum(text) + "  index.json\n");
    CHECK(refusal() == index + ": format version 9, this program reads 1");
  }
  SECTION("index.json that leads out of the folder, with a fitting COMPLETE") {
    std::string text = read_bytes(index);
    text.replace(text.find("note.txt"), 8, "../t.txt");
    write_bytes(index, text);
    write_bytes(path + "/COMPLETE", text_checksum(text) + "  index.json\n");
    CHECK(refusal() == index + ": \"../t.txt\" is not a plain file name");
  }
  SECTION("no folder, or a run directory instead of a checkpoint") {
    CHECK(message_of<DataError>([&] { Reader reader(run.file("x")); }) ==
          run.file("x") + ": no such folder");
    CHECK(message_of<DataError>([&] { Reader reader(run.path()); }) ==
          run.path() + " is a run directory; name one of " + run.path() + "/checkpoints/step_*");
  }
}

TEST_CASE("An error of any rank at any step reaches all ranks and leaves the old checkpoint") {
  for (const int failing_rank : {0, 1}) {
    int failures = 0;
    for (int stop = 1;; ++stop) {
      INFO("rank " << failing_rank << " fails at its step " << stop);
      const TemporaryFolder run(memory_parent());
      save_example(run.path(), 1, 1);
      int steps = 0;
      const auto results = save_with_two_ranks(
          run.path(), 2, 2, failing_rank, [&](std::string_view step, const std::string& path) {
            if (++steps == stop) throw DataError(concat("cannot ", step, " ", path, ": disk full"));
          });
      REQUIRE(results[0] == results[1]);
      const auto latest = find_latest(run.path(), nullptr);
      REQUIRE(latest);
      if (steps < stop) {  // got through: as many failures as steps were tried
        CHECK(results[0] == *latest);
        CHECK(read_example(*latest) == 2);
        break;
      }
      ++failures;
      const std::string expected =
          concat("checkpoint of step 2 not saved: rank ", failing_rank, ": cannot ");
      // Once the new marker is in place only the removal of old checkpoints is left.
      CHECK(results[0].find(expected) == 0);
      CHECK((read_example(*latest) == 1 || read_example(*latest) == 2));
      CHECK(read_example(save_with_two_ranks(run.path(), 2, 3, 0, {})[0]) == 3);
    }
    CHECK(failures >= 5);
  }
}

TEST_CASE("A file written by two ranks is our own mistake and is caught") {
  const TemporaryFolder run;
  auto worlds = comm::make_in_process_worlds(2);
  const auto refused = [&](std::size_t rank) {
    const std::vector<int> members{0, 1};
    auto group = worlds[rank]->make_group(members);
    Writer writer(run.path(), 1, *group);
    write_example_file(writer, 1, static_cast<int>(rank));
    write_example_file(writer, 1, 2);
    try {
      writer.commit(example_state(1, 1), {}, 0, 0);
    } catch (const InternalError&) {
      return true;
    }
    return false;
  };
  auto other = std::async(std::launch::async, refused, 1);
  CHECK(refused(0));
  CHECK(other.get());
}
