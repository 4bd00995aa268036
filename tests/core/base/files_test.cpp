#include "core/base/files.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <cstring>
#include <filesystem>
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

TEST_CASE("Whatever a user names stays what it is, and is written to") {
  namespace fs = std::filesystem;
  const TemporaryFolder folder;
  const std::string file = folder.file("file"), link = folder.file("link");
  SECTION("a link, through another one, keeps leading to the file") {
    fs::create_directory(folder.file("sub"));
    write_bytes(folder.file("sub/real"), "old, and longer");
    fs::create_symlink("sub/real", file);
    fs::create_symlink(file, link);
    base::atomic_write_file(link, "new");
    CHECK(fs::read_symlink(link) == file);
    CHECK(fs::read_symlink(file) == "sub/real");
    CHECK(read_bytes(folder.file("sub/real")) == "new");
    CHECK(folder.entries() == 3);  // and nothing is left
  }
  SECTION("a link to a file that is not there yet makes it") {
    fs::create_symlink("file", link);
    base::atomic_write_file(link, "new");
    CHECK(fs::is_symlink(link));
    CHECK(read_bytes(file) == "new");
  }
  SECTION("a circle of links") {
    fs::create_symlink("link", link);
    CHECK(message_of<DataError>([&] { base::atomic_write_file(link, "new"); }) ==
          "cannot follow " + link + ": Too many levels of symbolic links");
    CHECK(fs::is_symlink(link));
  }
  SECTION("a pipe") {
    REQUIRE(::mkfifo(file.c_str(), 0600) == 0);
    const base::Descriptor reader(::open(file.c_str(), O_RDONLY | O_NONBLOCK));
    base::atomic_write_file(file, "through");
    char text[16] = {};
    CHECK(::read(reader.get(), text, sizeof text) == 7);
    CHECK(std::string(text) == "through");
    CHECK(fs::is_fifo(file));
  }
  SECTION("devices, by links: a fault must not cost the machine its own") {
    fs::create_symlink("/dev/null", link);
    base::atomic_write_file(link, "away");
    CHECK(fs::is_symlink(link));
    fs::create_symlink("/dev/full", file);
    CHECK(message_of<DataError>([&] { base::atomic_write_file(file, "text"); }) ==
          "cannot write " + file + ": No space left on device");
    CHECK(fs::is_symlink(file));
    // For whom may make one.
    const std::string device = folder.file("device");
    if (::mknod(device.c_str(), S_IFCHR | 0600, ::makedev(1, 3)) == 0) {
      try {
        base::atomic_write_file(device, "away");
      } catch (const DataError&) {  // a file system without devices
      }
      CHECK(fs::is_character_file(device));
    }
  }
  SECTION("a folder is refused") {
    CHECK(message_of<DataError>([&] { base::atomic_write_file(folder.path(), "new"); }) ==
          "cannot replace " + folder.path() + ": it is a folder");
  }
  SECTION("a file behind one of the program's streams goes on where it is") {
    const base::Descriptor opened(::open(file.c_str(), O_WRONLY | O_CREAT, 0600));
    int stream = 3;  // as of "3>file", if it is free
    while (stream < 9 && ::fcntl(stream, F_GETFD) != -1) ++stream;
    if (opened.get() != stream) REQUIRE(::dup2(opened.get(), stream) == stream);
    REQUIRE(::write(stream, "before ", 7) == 7);
    base::atomic_write_file("/dev/fd/" + std::to_string(stream), "and after");
    if (opened.get() != stream) ::close(stream);
    CHECK(read_bytes(file) == "before and after");
  }
}

TEST_CASE("Replacing a file touches no other, and keeps the file's mode") {
  const TemporaryFolder folder;
  const std::string file = folder.file("f"), other = folder.file("f.tmp"), far = folder.file("far");
  const auto mode_of = [](const std::string& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
  };
  SECTION("a file of the user's beside it") {
    write_bytes(other, "mine");
    base::atomic_write_file(file, "new");
    CHECK(read_bytes(other) == "mine");
    CHECK(folder.entries() == 2);
  }
  SECTION("where a link leads to") {
    write_bytes(far, "mine");
    std::filesystem::create_symlink(far, other);
    base::atomic_write_file(file, "new");
    CHECK(read_bytes(far) == "mine");
    CHECK(std::filesystem::is_symlink(other));
    CHECK(folder.entries() == 3);
  }
  SECTION("a new file's mode is the mask's, an old one's its own") {
    const mode_t mask = ::umask(027);
    base::atomic_write_file(file, "new");
    CHECK(mode_of(file) == 0640);
    for (const mode_t mode : {0600, 0666, 0755}) {
      REQUIRE(::chmod(file.c_str(), mode) == 0);
      base::atomic_write_file(file, "newer");
      CHECK(mode_of(file) == mode);
    }
    ::umask(mask);
  }
  CHECK(read_bytes(file).starts_with("new"));
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
    ::_exit(message == "cannot write " + path + ": File too large" ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(folder.entries() == 0);
}
