#include "core/checkpoint/directory.h"

#include <algorithm>
#include <cstring>
#include <future>

#include "core/comm/world.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/checkpoint/example.h"
#include "tests/core/checkpoint/solo_group.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::checkpoint;
using namespace seq1f1b::testing;

namespace fs = std::filesystem;

namespace {

// Replaces text of index.json, and fits COMPLETE to it.
void edit_index(const std::string& checkpoint, const std::string& from, const std::string& to) {
  const std::string path = checkpoint + "/index.json";
  std::string text = read_bytes(path);
  text.replace(text.find(from), from.size(), to);
  write_bytes(path, text);
  write_bytes(checkpoint + "/COMPLETE", text_checksum(text) + "  index.json\n");
}

void flip_byte(const std::string& path, std::size_t offset) {
  std::string bytes = read_bytes(path);
  bytes.at(offset) = static_cast<char>(bytes[offset] ^ 1);
  write_bytes(path, bytes);
}

// Two ranks save one file each, each its own or each the other's; every rank's result: the path or
// the error's text.
std::vector<std::string> save_with_two_ranks(const std::string& run, std::int64_t step, int content,
                                             int observed_rank, const base::DiskObserver& observer,
                                             bool crossed = false) {
  auto worlds = comm::make_in_process_worlds(2);
  const auto rank_main = [&](int rank) -> std::string {
    const std::vector<int> members{0, 1};
    auto group = worlds[static_cast<std::size_t>(rank)]->make_group(members);
    try {
      Writer writer(run, step, *group, rank == observed_rank ? observer : base::DiskObserver());
      write_example_file(writer, content, crossed ? 1 - rank : rank);
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
  CHECK(reader.tensors()[1].dtype == "F32");
  REQUIRE(reader.tensors()[1].parts.size() == 1);
  const TensorPart& part = reader.tensors()[1].parts.front();
  CHECK(part.file == "layers.0001.safetensors");
  CHECK(part.offset == std::vector<std::int64_t>{0, 0});
  CHECK(part.shape == std::vector<std::int64_t>{2, 3});
  // A tool needs neither the rest of the file nor its header to verify a tensor.
  const std::string bytes = read_bytes(path + "/" + part.file);
  CHECK(part.begin == bytes.size() - 24);
  CHECK(part.checksum == text_checksum(bytes.substr(*part.begin, 24)));

  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{"COMPLETE", "index.json", "layers.0000.safetensors",
                                          "layers.0001.safetensors", "note.txt"});
}

TEST_CASE("What index.json may say and this program does not do yet is refused in words") {
  const TemporaryFolder run;
  const std::string path = save_example(run.path(), 1, 3), index = path + "/index.json";
  const auto refusal = [&] {
    return message_of<DataError>([&] { Reader(path).tensor("layers.1.weight"); });
  };
  const std::string whole = "\"offset\":[0,0],\"shape\":[2,3]";
  const auto edit_part = [&](const std::string& to) {
    const std::string before = "\"parts\":[{\"file\":\"layers.0001.safetensors\",";
    edit_index(path, before + whole, before + to);
  };

  SECTION("a part that is not all of its tensor") {
    edit_part("\"offset\":[1,0],\"shape\":[1,3]");
    CHECK(refusal() == path +
                           ": layers.1.weight is not stored whole, in one part (1 listed); this "
                           "program does not join parts yet");
    // The rest can be listed and read, and nothing takes the checkpoint for an unfinished one.
    CHECK(Reader(path).tensors().size() == 2);
    CHECK_NOTHROW(Reader(path).tensor("layers.0.weight"));
    CHECK(find_latest(run.path(), nullptr) == path);
  }
  SECTION("two parts, be one of them the whole") {
    for (const char* place : {"\"offset\":[1,0],\"shape\":[1,3]", whole.c_str()}) {
      const TemporaryFolder other;
      const std::string copy = other.file("copy");
      fs::copy(path, copy);
      edit_index(copy, "\"parts\":[{\"file\":\"layers.0001",
                 concat("\"parts\":[{\"file\":\"layers.0000.safetensors\",", place,
                        R"(,"begin":88,"xxh3_64":""},{"file":"layers.0001)"));
      CHECK(message_of<DataError>([&] { Reader(copy).tensor("layers.1.weight"); }) ==
            copy +
                ": layers.1.weight is not stored whole, in one part (2 listed); this program does "
                "not join parts yet");
    }
  }
  SECTION("a part outside its tensor") {
    for (const char* place :
         {"\"offset\":[1,0],\"shape\":[2,3]", "\"offset\":[0],\"shape\":[6]",
          "\"offset\":[-1,0],\"shape\":[1,3]", "\"offset\":[0,0],\"shape\":[3,3]"}) {
      const TemporaryFolder other;
      const std::string copy = other.file("copy");
      fs::copy(path, copy);
      const std::string before = "\"parts\":[{\"file\":\"layers.0001.safetensors\",";
      edit_index(copy, before + whole, before + place);
      CHECK(message_of<DataError>([&] { Reader reader(copy); }) ==
            copy +
                "/index.json: a part of tensor layers.1.weight in layers.0001.safetensors lies "
                "outside the tensor");
    }
  }
  SECTION("no parts") {
    const std::string text = read_bytes(index);
    const auto begin = text.find("[{\"file\":\"layers.0001"), end = text.find("}]", begin) + 2;
    edit_index(path, text.substr(begin, end - begin), "[]");
    CHECK(refusal() == index + ": tensor layers.1.weight has no parts");
  }
  SECTION("fields of a tensor or a part that may change what the others mean") {
    edit_index(path, "\"dtype\":\"F32\"", "\"dtype\":\"F32\",\"scale\":2");
    CHECK(refusal() == index +
                           ": tensor layers.0.weight has the field \"scale\", which this "
                           "program does not know: a newer one wrote it");
    edit_index(path, ",\"scale\":2", "");
    edit_part("\"codec\":\"zstd\"," + whole);
    CHECK(refusal() == index +
                           ": tensor layers.1.weight has the field \"codec\", which this "
                           "program does not know: a newer one wrote it");
  }
  SECTION("other fields are left to whom they concern") {
    edit_index(path, "\"extra\"", "\"comment\":\"hello\",\"extra\"");
    CHECK(read_example(path) == 3);
  }
  SECTION("a dtype that is not known here can be listed") {
    edit_index(path, "\"layers.1.weight\",\"dtype\":\"F32\"",
               "\"layers.1.weight\",\"dtype\":\"F8_E4M3\"");
    CHECK(Reader(path).tensors()[1].dtype == "F8_E4M3");
    CHECK(refusal().find("layers.1.weight has another dtype, shape or place") != std::string::npos);
  }
}

TEST_CASE("A tensor is verified without the rest of its file") {
  const TemporaryFolder run;
  SoloGroup group;
  Writer writer(run.path(), 1, group);
  const std::vector<float> a{1, 2}, b{3, 4};
  writer.write("both", {{"a", kernels::Dtype::kF32, {2}, std::as_bytes(std::span(a))},
                        {"b", kernels::Dtype::kF32, {2}, std::as_bytes(std::span(b))}});
  const std::string path = writer.commit(example_state(1, 1), {}, 0, 0);
  const std::string file = path + "/both.safetensors";
  flip_byte(file, fs::file_size(file) - 1);

  std::vector<std::string> read;
  Reader reader(path, [&](std::string_view action, const std::string& what) {
    read.push_back(concat(action, " ", what));
  });
  CHECK(std::memcmp(reader.tensor("a").data.data(), a.data(), 8) == 0);
  CHECK(message_of<DataError>([&] { reader.tensor("b"); }).find(file + ": b: checksum is ") == 0);
  reader.tensor("a");
  CHECK(read == std::vector<std::string>(2, "read " + file));
}

TEST_CASE("A checkpoint of version 1 is read, and its files are verified") {
  const TemporaryFolder folder;
  const std::string path = folder.file("step_00000003");
  fs::copy(SEQ1F1B_SOURCE_DIR "/tests/core/checkpoint/version_1/step_00000003", path);
  const auto values = [](const StoredTensor& tensor) {
    std::vector<float> elements(tensor.data.size() / sizeof(float));
    std::memcpy(elements.data(), tensor.data.data(), tensor.data.size());
    return elements;
  };

  std::vector<std::string> read;
  Reader reader(path, [&](std::string_view, const std::string& what) {
    read.push_back(fs::path(what).filename());
  });
  CHECK(reader.state().step == 3);
  CHECK(reader.state().consumed_samples == 12);
  CHECK(reader.state().consumed_tokens == 96);
  CHECK(reader.has_attachment("config.resolved.yaml"));
  CHECK(reader.tensors().size() == 60);
  for (const TensorEntry& entry : reader.tensors()) {
    CHECK(entry.dtype == "F32");
    CHECK(entry.whole());
    CHECK_FALSE(entry.parts.front().begin);
    CHECK(reader.tensor(entry.name).shape == entry.shape);
  }
  CHECK(read == std::vector<std::string>{"embedding.safetensors", "head.safetensors",
                                         "layers.0000.safetensors"});
  // Read from the files by another program.
  CHECK(values(reader.tensor("embedding.token.weight")).back() == 0x1.37befap-5f);
  CHECK(values(reader.tensor("layers.0.ffn.down.weight.exp_avg_sq")).front() == 0x1.0cacd8p-26f);
  CHECK(values(reader.tensor("final_norm.bias")).front() == -0x1.09128p-15f);

  const std::string file = path + "/layers.0000.safetensors";
  flip_byte(file, fs::file_size(file) - 1);
  Reader again(path);
  CHECK_NOTHROW(again.tensor("final_norm.bias"));
  CHECK(message_of<DataError>([&] { again.tensor("layers.0.norm1.bias"); }) ==
        concat(file, ": checksum is ", file_checksum(file),
               ", index.json says 54aa355cec33343c: the file was altered or damaged"));
}

TEST_CASE("The same contents give the same bytes") {
  const TemporaryFolder a, b;
  const std::string in_a = save_example(a.path(), 7, 1), in_b = save_example(b.path(), 7, 1);
  for (const auto& entry : fs::directory_iterator(in_a))
    CHECK(read_bytes(entry.path()) == read_bytes(in_b + "/" + entry.path().filename().string()));
}

TEST_CASE("A checkpoint does not show how many ranks wrote it, nor which") {
  const TemporaryFolder one;
  const std::string alone = save_example(one.path(), 7, 1);
  for (const bool crossed : {false, true}) {
    const TemporaryFolder two;
    const std::string together = save_with_two_ranks(two.path(), 7, 1, 0, {}, crossed)[1];
    for (const auto& entry : fs::directory_iterator(alone))
      CHECK(read_bytes(entry.path()) ==
            read_bytes(together + "/" + entry.path().filename().string()));
  }
}

TEST_CASE("What a save waits for on the disk is watched, what it waits for from others is not") {
  const TemporaryFolder run;
  SoloGroup group;
  Writer writer(run.path(), 1, group,
                [&](std::string_view, const std::string&) { CHECK(group.watches == 1); });
  write_example_file(writer, 1, 0);
  writer.commit(example_state(1, 1), {}, 0, 0);
  CHECK(group.most_watches_when_gathering == 0);
}

TEST_CASE("Nothing more is written after an error, and its folder goes") {
  const TemporaryFolder run;
  SoloGroup group;
  bool failed = false;
  std::vector<std::string> later;
  Writer writer(run.path(), 1, group, [&](std::string_view step, const std::string& path) {
    if (failed) later.push_back(concat(step, " ", fs::path(path).filename().string()));
    if (step != "create") return;
    failed = true;
    throw DataError("disk full");
  });
  for (const int file : {0, 1}) write_example_file(writer, 1, file);
  CHECK(later.empty());
  CHECK_THROWS_AS(writer.commit(example_state(1, 1), {}, 0, 0), DataError);
  CHECK(later == std::vector<std::string>{"remove .tmp-step_00000001"});
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
    const auto data = [&] { return read_bytes(file).substr(fs::file_size(file) - 24); };
    const std::string before = text_checksum(data());
    flip_byte(file, fs::file_size(file) - 1);
    CHECK(refusal() == concat(file, ": layers.1.weight: checksum is ", text_checksum(data()),
                              ", index.json says ", before, ": the tensor was altered or damaged"));
    Reader reader(path);
    CHECK_NOTHROW(reader.tensor("layers.0.weight"));  // the others stay readable
    CHECK_THROWS_AS(reader.tensor("layers.1.weight"), DataError);
    CHECK_THROWS_AS(reader.tensor("layers.1.weight"), DataError);  // once is not enough
  }
  SECTION("a header that says something else than index.json") {
    std::string bytes = read_bytes(file);
    bytes.replace(bytes.find("[2,3]"), 5, "[3,2]");
    write_bytes(file, bytes);
    CHECK(refusal() == file +
                           ": layers.1.weight has another dtype, shape or place than index.json "
                           "says: the file was altered or damaged");
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
    edit_index(path, "\"version\": 2", "\"version\": 9");
    CHECK(refusal() == index + ": format version 9; this program reads versions 1 and 2");
  }
  SECTION("index.json of something else, with a fitting COMPLETE") {
    edit_index(path, "\"seq1f1b checkpoint\"", "\"another program\"");
    CHECK(refusal() == index + ": not the index of a checkpoint");
  }
  SECTION("index.json that leads out of the folder, with a fitting COMPLETE") {
    std::string before = "note.txt";
    for (const char* name : {"../t.txt", "t/note.txt", ".note.txt"}) {
      edit_index(path, before, name);
      CHECK(refusal() == concat(index, ": \"", name, "\" is not a plain file name"));
      before = name;
    }
  }
  SECTION("index.json with another place of a tensor, with a fitting COMPLETE") {
    const auto begin = fs::file_size(file) - 24;
    edit_index(path, concat("\"begin\":", begin), concat("\"begin\":", begin - 4));
    CHECK(refusal() == path +
                           "/layers.0000.safetensors: layers.0.weight has another dtype, shape or "
                           "place than index.json says: the file was altered or damaged");
  }
  SECTION("index.json with a tensor in a file that it does not list") {
    edit_index(path, "\"file\":\"layers.0001.safetensors\"", "\"file\":\"layers.0001\"");
    CHECK(refusal() == index +
                           ": tensor layers.1.weight lies in layers.0001, which is not among "
                           "the files");
  }
  SECTION("a tensor that index.json does not list") {
    edit_index(path, "layers.1.weight", "layers.1.bias");
    CHECK(refusal() == index + " lists no tensor layers.1.weight");
  }
  SECTION("no folder, or a run directory instead of a checkpoint") {
    CHECK(message_of<DataError>([&] { Reader reader(run.file("x")); }) ==
          run.file("x") + ": no such folder");
    CHECK(message_of<DataError>([&] { Reader reader(run.path()); }) ==
          run.path() + " is a run directory; the newest checkpoint in it is " + path);
    const std::string folder = run.path() + "/checkpoints";
    CHECK(message_of<DataError>([&] { Reader reader(folder + "/"); }) ==
          folder + " is a folder of checkpoints; the newest checkpoint in it is " + path);
    fs::remove(path + "/COMPLETE");
    CHECK(message_of<DataError>([&] { Reader reader(folder); }) ==
          folder + " is a folder of checkpoints, and none in " + folder + " is complete");
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
