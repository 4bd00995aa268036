// The three files of a token set appear together or not at all: the writing is stopped, or fails,
// at each of its steps on the disk, one after the other, and several write the same prefix at once.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <regex>
#include <thread>

#include "core/data/prefix_lock.h"
#include "core/data/token_file.h"
#include "core/data/tokenizer.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::data;
using namespace seq1f1b::testing;

namespace fs = std::filesystem;

namespace {

using Tokens = std::vector<std::int32_t>;

// Set `content` of the prefix: as many documents of equal lengths whatever the content, so that
// only checksums tell the files of one set from those of another. Separators differ as well.
void write_set(const std::string& prefix, int content, const base::DiskObserver& observer = {}) {
  const auto tokenizer = make_byte_tokenizer(std::string(1, static_cast<char>('a' + content)));
  TokenFileWriter writer(prefix, tokenizer->vocab_size(), observer);
  for (int document = 0; document < 3; ++document)
    writer.add_document(Tokens{content, document, 256});
  writer.finish(tokenizer.get());
}

// The content of the set, when all of it is of one; -1 where the set is refused or not there.
// Throws what tells that another mixture was let through.
int content_of(const std::string& prefix) {
  try {
    const TokenFile file(prefix);
    file.examine();
    Tokens tokens(3);
    file.read(0, 0, 257, tokens);
    const auto tokenizer = load_tokenizer(prefix + ".tokenizer.json");
    if (tokenizer->decode(Tokens{256}) != std::string(1, static_cast<char>('a' + tokens[0])))
      throw std::runtime_error("a tokenizer of another set");
    return tokens[0];
  } catch (const DataError&) {
    return -1;
  }
}

constexpr int kKilled = 9;

// Another process writes the set; false where the observer has ended it.
bool write_in_child(const std::string& prefix, int content, const base::DiskObserver& observer) {
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    try {
      write_set(prefix, content, observer);
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFEXITED(status)) throw std::runtime_error("wait");
  if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != kKilled)
    throw std::runtime_error("the writing failed by itself");
  return WEXITSTATUS(status) == 0;
}

// A process that writes the set and ends before its step number `stop`; true when there is none.
bool write_until(const std::string& prefix, int content, int stop) {
  int steps = 0;
  return write_in_child(prefix, content, [&](std::string_view, const std::string&) {
    if (++steps == stop) ::_exit(kKilled);
  });
}

// A process is killed while neither the old set nor the new one has its names.
void interrupt(const std::string& prefix, int content) {
  if (write_in_child(prefix, content, [&](std::string_view step, const std::string& path) {
        if (step == "rename" && path == prefix + ".bin") ::_exit(kKilled);
      }))
    throw std::runtime_error("the set was written");
}

// A writer that puts back what it finds, and fails to write its own.
std::string fail_to_write(const std::string& prefix) {
  int marks = 0;
  return message_of<DataError>([&] {
    write_set(prefix, 3, [&](std::string_view step, const std::string& path) {
      if (step == "rename" && path == prefix + ".tokenizer.json" && ++marks == 2)
        throw DataError("disk on fire");
    });
  });
}

std::vector<std::string> names(const TemporaryFolder& folder) {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder.path()))
    found.push_back(entry.path().filename());
  std::ranges::sort(found);
  return found;
}

const std::vector<std::string> kSet{"x.bin", "x.idx", "x.tokenizer.json"};

}  // namespace

TEST_CASE("a writer killed at any step leaves one whole set, or one that is refused") {
  const bool first = GENERATE(true, false);  // nothing is there before, or another set
  int refused = 0;
  for (int stop = 1;; ++stop) {
    CAPTURE(first, stop);
    const TemporaryFolder folder(memory_parent());
    const std::string prefix = folder.file("x");
    if (!first) write_set(prefix, 1);
    const bool finished = write_until(prefix, 2, stop);
    const int found = content_of(prefix);
    if (finished) CHECK(found == 2);
    const bool not_there = first && !fs::exists(prefix + ".idx");
    CHECK((found == 2 || (found == 1 && !first) || found == -1));
    if (found == -1 && !not_there) {
      ++refused;
      // In words that say what to do.
      CHECK(message_of<DataError>([&] {
              TokenFile file(prefix);
            }).find("the preparation of these files was interrupted") != std::string::npos);
    }
    if (first && found == -1) CHECK_THROWS_AS(TokenFile(prefix), DataError);

    // The next one, killed at the same place, then not: nothing of the others is left.
    write_until(prefix, 3, stop);
    const int later = content_of(prefix);
    CHECK((later == -1 || (later >= 1 && later <= 3)));
    write_set(prefix, 4);
    CHECK(content_of(prefix) == 4);
    CHECK(names(folder) == kSet);
    if (finished) break;
  }
  CHECK(refused > 1);
}

TEST_CASE("a killed replacement is undone by the next that fails, too") {
  const TemporaryFolder folder(memory_parent());
  const std::string prefix = folder.file("x");
  write_set(prefix, 1);
  int stop = 1;
  while (write_until(prefix, 2, stop), content_of(prefix) != -1) ++stop;
  // The second finds the place refused, puts the first set back, and fails to write its own.
  int marks = 0;
  const std::string why = message_of<DataError>([&] {
    write_set(prefix, 3, [&](std::string_view step, const std::string& path) {
      if (step == "rename" && path.ends_with(".tokenizer.json") && ++marks == 2)
        throw DataError("disk on fire");
    });
  });
  CHECK(why == "disk on fire");
  CHECK(content_of(prefix) == 1);
  CHECK(names(folder) == kSet);
}

TEST_CASE("a prefix and the one called like its old files leave each other alone") {
  const TemporaryFolder folder(memory_parent());
  const std::string prefix = folder.file("x");
  write_set(prefix, 1);
  SECTION("a draft of x.old that is under way") {
    const auto tokenizer = make_byte_tokenizer("f");
    TokenFileWriter writing(prefix + ".old", 257);
    write_set(prefix, 2);
    writing.add_document(Tokens{5, 0, 256});
    writing.finish(tokenizer.get());
    CHECK(content_of(prefix + ".old") == 5);
    CHECK(content_of(prefix) == 2);
  }
  SECTION("the old files of x") {
    interrupt(prefix, 2);
    write_set(prefix + ".old", 5);
    CHECK(fail_to_write(prefix) == "disk on fire");
    CHECK(content_of(prefix) == 1);
    CHECK(content_of(prefix + ".old") == 5);
  }
  CHECK(folder.entries() == 6);
}

TEST_CASE("old files that are lost are not taken for put back") {
  for (const std::string ending : {".bin", ".idx", ".tokenizer.json"}) {
    CAPTURE(ending);
    const TemporaryFolder folder(memory_parent());
    const std::string prefix = folder.file("x");
    write_set(prefix, 1);
    interrupt(prefix, 2);
    std::string lost;
    for (const std::string& name : names(folder))
      if (name.ends_with(".old" + ending)) lost = folder.file(name);
    REQUIRE_FALSE(lost.empty());
    fs::remove(lost);
    const std::vector<std::string> before = names(folder);
    CHECK(message_of<DataError>([&] { write_set(prefix, 3); }) ==
          concat("cannot put back ", prefix, ending,
                 ", which an interrupted preparation replaced: ", lost,
                 " is missing; restore it, or give the old files up by removing ", prefix,
                 ".tokenizer.json"));
    CHECK(content_of(prefix) == -1);
    fs::remove(prefix + ".tokenizer.json");
    write_set(prefix, 4);
    CHECK(content_of(prefix) == 4);
    CHECK(names(folder) == kSet);
  }
}

TEST_CASE("files that cannot be inspected for a moment are not taken for missing") {
  const TemporaryFolder folder(memory_parent());
  fs::create_directory(folder.file("real"));
  const std::string link = folder.file("link"), prefix = link + "/x";
  const auto lead_to = [&](const std::string& target) {
    fs::remove(link);
    fs::create_directory_symlink(target, link);
  };
  lead_to("real");
  write_set(prefix, 1);
  bool failed = false;
  const std::string why = message_of<DataError>([&] {
    write_set(prefix, 2, [&](std::string_view step, const std::string& path) {
      if (failed) lead_to("real");
      if (failed || step != "rename" || path != prefix + ".bin") return;
      failed = true;
      lead_to("link");  // a loop
      throw DataError("disk on fire");
    });
  });
  lead_to("real");
  CHECK(
      why.starts_with("disk on fire; the files before could not be put back either (cannot "
                      "inspect " +
                      prefix));
  CHECK(fail_to_write(prefix) == "disk on fire");
  CHECK(content_of(prefix) == 1);
}

TEST_CASE("only a whole mark is one") {
  const TemporaryFolder folder(memory_parent());
  const std::string prefix = folder.file("x");
  for (const char* text :
       {R"({"kind": 5})", R"({"kind": "pending", "old": 5, "new": "x.tmp.1.ab", "had": []})",
        R"({"kind": "pending", "old": "x.tmp.1.ab.old", "new": [], "had": []})",
        R"({"kind": "pending", "old": "x.tmp.1.ab.old", "new": "x.tmp.1.ab", "had": 5})",
        R"({"kind": "pending", "old": "x.tmp.1.ab.old", "new": "x.tmp.1.ab", "had": [5]})",
        R"({"kind": "pending", "old": "x.tmp.1.ab.old", "new": "x.tmp.1.ab", "had": [".b"]})"}) {
    CAPTURE(text);
    write_bytes(prefix + ".tokenizer.json", text);
    write_set(prefix, 1);
    CHECK(content_of(prefix) == 1);
    CHECK(names(folder) == kSet);
  }
}

TEST_CASE("a writer that fails at any step leaves the old files as they were, and nothing else") {
  const bool first = GENERATE(true, false);
  int standing = 0, unsynced = 0;  // failures after the new set had its names
  for (int stop = 1;; ++stop) {
    CAPTURE(first, stop);
    const TemporaryFolder folder(memory_parent());
    const std::string prefix = folder.file("x");
    if (!first) write_set(prefix, 1);
    int steps = 0, commits = 0;
    std::string why;
    try {
      write_set(prefix, 2, [&](std::string_view step, const std::string& path) {
        if (++steps == stop) throw DataError("disk on fire");
        // The second one is the new tokenizer file: from there on the new set stands.
        if (step == "rename" && path == prefix + ".tokenizer.json") ++commits;
      });
    } catch (const DataError& error) {
      why = error.what();
    }
    if (steps < stop) break;
    if (commits == 2 && content_of(prefix) == 2) {  // whole; leftovers go with the next
      ++standing;
      if (why.empty()) continue;
      CHECK(why == concat("disk on fire; the new files of ", prefix,
                          " stand, but may not survive a power loss"));
      ++unsynced;
      continue;
    }
    CHECK(why == "disk on fire");
    CHECK(content_of(prefix) == (first ? -1 : 1));
    CHECK(names(folder) == (first ? std::vector<std::string>{} : kSet));
    CHECK(folder.entries() == (first ? 0 : 3));
  }
  CHECK(unsynced == 1);
  CHECK(standing == (first ? 1 : 4));  // the sync, and the removal of the old files
}

TEST_CASE("of several writers of one prefix at once the last counts, whole") {
  const TemporaryFolder folder(memory_parent());
  const std::string prefix = folder.file("x");
  for (int round = 0; round < 5; ++round) {
    std::vector<std::thread> writers;
    for (int content = 0; content < 6; ++content)
      writers.emplace_back([&, content] { write_set(prefix, content); });
    for (std::thread& writer : writers) writer.join();
    CHECK(content_of(prefix) >= 0);
    CHECK(folder.entries() == 3);
  }
}

TEST_CASE("a mixture of two sets is refused, whichever file is of the other") {
  for (const std::string ending : {".bin", ".idx", ".tokenizer.json"}) {
    CAPTURE(ending);
    const TemporaryFolder folder(memory_parent());
    write_set(folder.file("x"), 1);
    // Another length of the last document, in the same file sizes.
    const auto tokenizer = make_byte_tokenizer("b");
    TokenFileWriter writer(folder.file("y"), 257);
    for (const Tokens& document : {Tokens{1, 0, 256, 256}, Tokens{1, 256}, Tokens{7, 2, 256}})
      writer.add_document(document);
    writer.finish(tokenizer.get());
    REQUIRE(fs::file_size(folder.file("x" + ending)) > 0);
    fs::rename(folder.file("y" + ending), folder.file("x" + ending));
    const std::string why = message_of<DataError>([&] { TokenFile(folder.file("x")).examine(); });
    CHECK(why.find(folder.file("x")) == 0);
    CHECK(why.find("do not belong together; prepare them again") != std::string::npos);
  }
}

TEST_CASE("a set of other programs, or without its tokenizer file, has no record and loads") {
  const TemporaryFolder folder(memory_parent());
  write_set(folder.file("x"), 1);
  const CorpusIdentity with = TokenFile(folder.file("x")).examine();
  CHECK(with.documents == 3);
  CHECK(with.tokens == 9);
  CHECK(with.largest_token == 256);
  fs::remove(folder.file("x.tokenizer.json"));
  const bool same = TokenFile(folder.file("x")).examine() == with;
  CHECK(same);
  // A tokenizer that somebody has put beside such files.
  write_bytes(folder.file("x.tokenizer.json"), make_byte_tokenizer("\n")->to_json());
  CHECK(TokenFile(folder.file("x")).examine().content_checksum == with.content_checksum);
}

TEST_CASE("only files that a writer calls so are cleared away, and none that is being written") {
  const TemporaryFolder folder(memory_parent());
  const std::string prefix = folder.file("x");
  // Corpora of somebody who likes such names, and a file that another machine may have left.
  std::vector<std::string> kept{"x.lock.bin",          "x.old.1.ab.bin",  "x.old.bin",
                                "x.old.idx",           "x.old.tmp.bin",   "x.tmp.1.bin",
                                "x.tmp.bin",           "xx.tmp.1.ab.bin", "x.old.tmp.1.ab.bin",
                                "x.tmp.1.ab.older.bin"};
  for (const std::string& name : kept) write_bytes(folder.file(name), "mine");
  for (const char* name : {"x.tmp.1.ab.bin", "x.tmp.1.ab.mark", "x.tmp.2.cd.tokenizer.json",
                           "x.tmp.1.ab.old.bin", "x.tmp.1.ab.old.idx"})
    write_bytes(folder.file(name), "left");
  TokenFileWriter writing(prefix, 257);
  write_set(prefix, 1);
  const std::vector<std::string> after = names(folder);
  CHECK(after.size() == kept.size() + kSet.size() + 1);
  for (const std::string& name : kept) {
    CAPTURE(name);
    CHECK(std::ranges::find(after, name) != after.end());
  }
  writing.add_document(Tokens{5, 0, 256});
  const auto tokenizer = make_byte_tokenizer("f");
  writing.finish(tokenizer.get());
  CHECK(content_of(prefix) == 5);
}

TEST_CASE("a large file is compared with its record in pieces") {
  const TemporaryFolder folder(memory_parent());
  const std::string prefix = folder.file("x");
  const auto tokenizer = make_byte_tokenizer("\n");
  TokenFileWriter writer(prefix, 257);
  Tokens tokens(5'000'000);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int32_t>(i % 251);
  writer.add_document(tokens);
  writer.finish(tokenizer.get());
  const CorpusIdentity whole = TokenFile(prefix).examine();
  const bool same = TokenFile(prefix).examine({}, 1000) == whole;
  CHECK(same);
  int words = 0;
  TokenFile(prefix).examine([&](const std::string& what) {
    CHECK(what.find("reading " + prefix + ".bin, ") == 0);
    ++words;
  });
  CHECK(words == 1);
  // The last token, which lies in a piece.
  std::string bytes = read_bytes(prefix + ".bin");
  bytes[bytes.size() - 2] = 99;
  write_bytes(prefix + ".bin", bytes);
  for (const std::int64_t limit : {std::int64_t{1000}, kWholeCheckBytes})
    CHECK(message_of<DataError>([&] {
            TokenFile(prefix).examine({}, limit);
          }).find("do not belong together") != std::string::npos);
}

TEST_CASE("links, folders and devices are not replaced") {
  const TemporaryFolder folder(memory_parent());
  write_set(folder.file("far"), 1);
  for (const char* ending : {".bin", ".idx", ".tokenizer.json"})
    fs::create_symlink(folder.file(std::string("far") + ending),
                       folder.file(std::string("x") + ending));
  CHECK(message_of<DataError>([&] { write_set(folder.file("x"), 2); }) ==
        folder.file("x.bin") +
            " is a link and no file: it is not replaced; remove it, or name another prefix");
  CHECK(content_of(folder.file("x")) == 1);
  fs::create_directory(folder.file("y.idx"));
  CHECK(message_of<DataError>([&] {
          write_set(folder.file("y"), 2);
        }).find("y.idx is a folder, pipe or device and no file") != std::string::npos);
}

TEST_CASE("a lock is waited for, not for ever, and leaves no file") {
  const TemporaryFolder folder(memory_parent());
  {
    const PrefixLock lock(folder.file("x"));
    CHECK(lock.held());
    CHECK(message_of<DataError>([&] {
            PrefixLock second(folder.file("x"), 0.02);
          }).find("another process has held this lock for 0.02 s") != std::string::npos);
  }
  CHECK(folder.entries() == 0);
}

TEST_CASE("a lock leaves files alone that are not its own") {
  const TemporaryFolder folder(memory_parent());
  const std::string prefix = folder.file("Cargo"), lock = prefix + ".seq1f1b.lock";
  write_bytes(prefix + ".lock", "mine");
  write_set(prefix, 1);
  CHECK(read_bytes(prefix + ".lock") == "mine");
  const std::string refusal =
      lock + " is no lock of this program's, whose file has this name: move it";
  const auto refused = [&] { return message_of<DataError>([&] { write_set(prefix, 2); }); };
  SECTION("something is written there") {
    write_bytes(lock, "mine");
    CHECK(refused() == refusal);
    CHECK(read_bytes(lock) == "mine");
  }
  SECTION("a link") {
    write_bytes(folder.file("empty"), "");
    for (const char* target : {"empty", "none"}) {
      fs::remove(lock);
      fs::create_symlink(target, lock);
      CHECK(refused() == refusal);
      CHECK(fs::is_symlink(lock));
    }
    CHECK(fs::exists(folder.file("empty")));
    CHECK_FALSE(fs::exists(folder.file("none")));
  }
  SECTION("a pipe") {
    REQUIRE(::mkfifo(lock.c_str(), 0600) == 0);
    CHECK(refused() == refusal);
    CHECK(fs::is_fifo(lock));
  }
  SECTION("another's, put there while the lock was held") {
    {
      const PrefixLock held(prefix);
      fs::remove(lock);
      write_bytes(lock, "");
    }
    CHECK(fs::exists(lock));
  }
  CHECK(content_of(prefix) == 1);
}

TEST_CASE("no file gets its name before it, and what came before it, is on the disk") {
  const TemporaryFolder folder;
  const std::string prefix = folder.file("x");
  write_set(prefix, 1);
  std::vector<std::string> steps;
  write_set(prefix, 2, [&](std::string_view step, const std::string& path) {
    if (step == "write") return;
    std::string name = path == folder.path() ? "folder" : fs::path(path).filename().string();
    name = std::regex_replace(name, std::regex(R"(tmp\.[0-9]+\.[0-9a-f]+)"), "tmp");
    steps.push_back(concat(step, " ", name));
  });
  const std::vector<std::string> expected{"create x.tmp.bin",
                                          "sync_file x.tmp.bin",
                                          "create x.tmp.idx",
                                          "sync_file x.tmp.idx",
                                          "create x.tmp.tokenizer.json",
                                          "sync_file x.tmp.tokenizer.json",
                                          "create x.tmp.old.tokenizer.json",
                                          "sync_file x.tmp.old.tokenizer.json",
                                          "create x.tmp.mark",
                                          "sync_file x.tmp.mark",
                                          "sync_directory folder",
                                          "rename x.tokenizer.json",
                                          "sync_directory folder",
                                          "rename x.tmp.old.bin",
                                          "rename x.tmp.old.idx",
                                          "rename x.bin",
                                          "rename x.idx",
                                          "sync_directory folder",
                                          "rename x.tokenizer.json",
                                          "sync_directory folder",
                                          "remove x.tmp.old.bin",
                                          "remove x.tmp.old.idx",
                                          "remove x.tmp.old.tokenizer.json"};
  CHECK(steps == expected);
}
