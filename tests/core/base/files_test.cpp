#include "core/base/files.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <cstring>
#include <vector>

#include "core/base/mapped_file.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::testing;

TEST_CASE("Files are read whole, whatever their length") {
  const TemporaryFolder folder;
  for (const std::size_t bytes : {0, 1, 65535, 65536, 65537, 200000}) {
    std::string text(bytes, 'x');
    if (!text.empty()) text.back() = '\0';
    write_bytes(folder.file("f"), text);
    CHECK(base::read_file(folder.file("f")) == text);
    const base::MappedFile mapped(folder.file("f"));
    REQUIRE(mapped.bytes().size() == bytes);
    CHECK((bytes == 0 || std::memcmp(mapped.bytes().data(), text.data(), bytes) == 0));
  }
}

TEST_CASE("A file that cannot be read is named with the reason") {
  const TemporaryFolder folder;
  const std::string path = folder.file("absent");
  CHECK(message_of<DataError>([&] { base::read_file(path); }) ==
        "cannot open " + path + ": No such file or directory");
  CHECK(message_of<DataError>([&] { base::MappedFile mapped(path); }) ==
        "cannot open " + path + ": No such file or directory");
  CHECK(message_of<DataError>([&] { base::MappedFile mapped(folder.path()); }) ==
        "not a regular file: " + folder.path());
}

TEST_CASE("A mapping moves and is released once") {
  const TemporaryFolder folder;
  write_bytes(folder.file("a"), "first");
  write_bytes(folder.file("b"), "second");
  base::MappedFile a(folder.file("a")), b(folder.file("b"));
  a = std::move(b);
  CHECK(a.bytes().size() == 6);
  const base::MappedFile c(std::move(a));
  CHECK(c.bytes().size() == 6);
  CHECK(c.path() == folder.file("b"));
}

TEST_CASE("A replaced file has the old text until the rename, and the folder is synced after it") {
  const TemporaryFolder folder;
  const std::string path = folder.file("f");
  base::atomic_write_file(path, "old");
  std::vector<std::string> steps;
  const base::Disk disk([&](std::string_view step, const std::string& where) {
    steps.push_back(std::string(step) + " " + where.substr(folder.path().size()));
    const bool renamed = steps.size() > 4;
    CHECK(read_bytes(path) == (renamed ? "new" : "old"));
  });
  disk.replace_file(path, "new");
  CHECK(steps == std::vector<std::string>{"create /f.tmp", "write /f.tmp", "sync_file /f.tmp",
                                          "rename /f", "sync_directory "});
}

TEST_CASE("A tree is removed without following links") {
  const TemporaryFolder folder;
  const base::Disk disk;
  disk.make_directory(folder.file("a/b/c"));
  write_bytes(folder.file("a/b/f"), "x");
  disk.make_directory(folder.file("kept"));
  write_bytes(folder.file("kept/f"), "x");
  std::filesystem::create_directory_symlink(folder.file("kept"), folder.file("a/link"));
  disk.remove_tree(folder.file("a"));
  CHECK_FALSE(std::filesystem::exists(folder.file("a")));
  CHECK(read_bytes(folder.file("kept/f")) == "x");
  disk.remove_tree(folder.file("a"));  // nothing there: nothing happens
}

TEST_CASE("Too little space is said in numbers before anything is written") {
  const TemporaryFolder folder;
  base::require_free_space(folder.path(), 1);
  const std::string message = message_of<DataError>(
      [&] { base::require_free_space(folder.path(), std::uint64_t{1} << 62); });
  CHECK(message.find("disk too full for " + folder.path() + ": 4.00 EiB needed, ") == 0);
  CHECK(message.rfind(" free") == message.size() - 5);
}

TEST_CASE("A write that the system refuses half-way is an error") {
  const TemporaryFolder folder;
  const std::string path = folder.file("f");
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {  // the limit would hold for the whole process
    const rlimit limit{1000, 1000};
    std::signal(SIGXFSZ, SIG_IGN);
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string message =
        message_of<DataError>([&] { base::atomic_write_file(path, std::string(5000, 'x')); });
    ::_exit(message == "cannot write " + path + ".tmp: File too large" ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK_FALSE(std::filesystem::exists(path));
}
