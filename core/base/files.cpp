#include "core/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <random>
#include <system_error>
#include <thread>
#include <vector>

#include "core/base/text.h"
#include "kernels/common/errors.h"

namespace seq1f1b::base {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_with(const char* action, const std::string& path,
                             const std::error_code& why) {
  throw DataError(concat(action, " ", path, ": ", why.message()));
}

std::string parent_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

void write_all(int file, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t count = ::write(file, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_file_error("cannot write", path);
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

// What the shell has opened for this program, by its number, where it is the file of `status`: -1
// where none is.
int inherited_stream(const struct stat& status) {
  constexpr int kMostRedirected = 9;  // as a shell numbers them
  for (int stream = STDOUT_FILENO; stream <= kMostRedirected; ++stream) {
    struct stat of_stream {};
    if (::fstat(stream, &of_stream) != 0 || of_stream.st_dev != status.st_dev ||
        of_stream.st_ino != status.st_ino)
      continue;
    if ((::fcntl(stream, F_GETFL) & O_ACCMODE) != O_RDONLY) return stream;
  }
  return -1;
}

// A device or a pipe, for writing. Whoever reads a pipe may open it a moment later, but need not
// come at all.
Descriptor open_special(const std::string& path) {
  constexpr int kTries = 40;
  constexpr std::chrono::milliseconds kPause{50};
  for (int tries = 0;; ++tries) {
    Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file && errno == ENXIO) {
      if (tries == kTries)
        throw DataError(
            concat("cannot write ", path, ": nobody reads from the pipe; start its reader first"));
      std::this_thread::sleep_for(kPause);
      continue;
    }
    if (!file) throw_file_error("cannot open", path);
    const int flags = ::fcntl(file.get(), F_GETFL);
    if (flags < 0 || ::fcntl(file.get(), F_SETFL, flags & ~O_NONBLOCK) < 0)
      throw_file_error("cannot set up", path);
    return file;
  }
}

// A file under a name that nobody has had, beside `path`. Removed with the object unless it was
// renamed. Errors name `path`, which people know.
class NewFile {
 public:
  explicit NewFile(const std::string& path) : path_(path) {
    std::random_device random;
    do {
      name_ = concat(path, ".tmp.", std::hex, random(), random());
      file_ = Descriptor(
          ::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
    } while (!file_ && errno == EEXIST);
    if (!file_) throw_file_error("cannot create a file beside", path);
  }
  ~NewFile() {
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void finish(std::string_view contents) {
    struct stat old {
    }, mine{};
    if (::stat(path_.c_str(), &old) == 0 && ::fstat(file_.get(), &mine) == 0 &&
        old.st_mode != mine.st_mode && ::fchmod(file_.get(), old.st_mode & 0777) != 0)
      throw_file_error("cannot set the mode of a file beside", path_);
    write_all(file_.get(), contents, path_);
    if (::fsync(file_.get()) != 0) throw_file_error("cannot sync", path_);
    if (file_.close() != 0) throw_file_error("cannot close", path_);
    if (::rename(name_.c_str(), path_.c_str()) != 0) throw_file_error("cannot replace", path_);
    name_.clear();
  }

 private:
  const std::string path_;
  std::string name_;
  Descriptor file_;
};

void sync_folder(const std::string& path) {
  const Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) throw_file_error("cannot open folder", path);
  // Some network file systems cannot sync a folder and say EINVAL; they order renames themselves.
  if (::fsync(folder.get()) != 0 && errno != EINVAL) throw_file_error("cannot sync folder", path);
}

}  // namespace

void throw_file_error(const char* action, const std::string& path) {
  throw_with(action, path, std::error_code(errno, std::generic_category()));
}

std::string text_of(const fs::filesystem_error& error) {
  return concat("cannot use ", error.path1().string(), ": ", error.code().message());
}

bool exists(const std::string& path) {
  std::error_code why;
  const fs::file_status status = fs::status(path, why);
  if (status.type() == fs::file_type::none) throw_with("cannot inspect", path, why);
  return fs::exists(status);
}

bool is_folder(const std::string& path) {
  std::error_code why;
  const fs::file_status status = fs::status(path, why);
  if (status.type() == fs::file_type::none) throw_with("cannot inspect", path, why);
  return fs::is_directory(status);
}

std::string read_file(const std::string& path,
                      const std::function<bool(std::string_view block)>& go_on) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) throw_file_error("cannot open", path);
  std::string text;
  for (;;) {
    constexpr std::size_t kBlock = 1 << 16;
    const std::size_t before = text.size();
    text.resize(before + kBlock);
    const ssize_t count = ::read(file.get(), text.data() + before, kBlock);
    text.resize(before + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    if (count == 0) return text;
    if (count < 0 && errno != EINTR) throw_file_error("cannot read", path);
    if (go_on && !go_on(std::string_view(text).substr(before))) return text;
  }
}

std::uint64_t free_space(const std::string& path) {
  struct statvfs status {};
  if (::statvfs(path.c_str(), &status) != 0) throw_file_error("cannot inspect", path);
  return std::uint64_t{status.f_bavail} * status.f_frsize;
}

void require_free_space(const std::string& path, std::uint64_t bytes) {
  const std::uint64_t free = free_space(path);
  if (free < bytes)
    throw DataError(concat("disk too full for ", path, ": ", bytes_text(bytes), " needed, ",
                           bytes_text(free), " free"));
}

void atomic_write_file(const std::string& path, std::string_view contents) {
  struct stat status {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  // /dev/stdout where that is a file: opened again, it would be written from its start.
  if (const int stream = exists ? inherited_stream(status) : -1; stream >= 0) {
    if (stream == STDOUT_FILENO) std::fflush(stdout);
    return write_all(stream, contents, path);
  }
  if (!exists || S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) {
    const std::string file = replaceable_file(path);
    NewFile(file).finish(contents);
    return sync_folder(parent_of(file));
  }
  Descriptor file = open_special(path);
  write_all(file.get(), contents, path);
  if (file.close() != 0) throw_file_error("cannot close", path);
}

std::string replaceable_file(const std::string& path) {
  std::error_code none;
  if (fs::exists(path, none) && !fs::is_regular_file(path, none))
    throw DataError(concat("cannot replace ", path, ": it is ",
                           fs::is_directory(path, none) ? "a folder" : "not a file"));
  // Step by step, since a link may lead to a file that is not there yet.
  fs::path file = path;
  constexpr int kMostLinks = 40;  // as many as Linux follows
  for (int links = 0; fs::is_symlink(file, none); ++links) {
    std::error_code why;
    const fs::path target = fs::read_symlink(file, why);
    if (why) throw_with("cannot follow", path, why);
    if (links == kMostLinks)
      throw_with("cannot follow", path,
                 std::make_error_code(std::errc::too_many_symbolic_link_levels));
    file = file.parent_path() / target;  // an absolute target stands alone
  }
  return file.string();
}

OutputFile Disk::create(const std::string& path) const { return {*this, path}; }

void Disk::write_file(const std::string& path, std::string_view text) const {
  OutputFile file = create(path);
  file.write(text);
  file.finish();
}

void Disk::replace_file(const std::string& path, std::string_view text) const {
  const std::string temporary = path + ".tmp";
  write_file(temporary, text);
  rename(temporary, path);
  sync_directory(parent_of(path));
}

void Disk::make_directory(const std::string& path) const {
  announce("make_directory", path);
  std::error_code why;
  // "a/b/" names the same folder as "a/b", but has another parent.
  fs::path folder(path);
  if (!folder.has_filename()) folder = folder.parent_path();
  // Which are new, innermost first: the entry of each is on the disk once its parent is synced.
  std::vector<std::string> made;
  for (; !folder.empty() && !fs::exists(folder, why); folder = folder.parent_path())
    made.push_back(folder.string());
  fs::create_directories(path, why);
  if (why) throw_with("cannot make folder", path, why);
  for (auto entry = made.rbegin(); entry != made.rend(); ++entry) sync_folder(parent_of(*entry));
}

void Disk::sync_directory(const std::string& path) const {
  announce("sync_directory", path);
  sync_folder(path);
}

void Disk::rename(const std::string& from, const std::string& to) const {
  announce("rename", to);
  std::error_code why;
  fs::rename(from, to, why);
  if (why) throw_with("cannot rename", concat(from, " to ", to), why);
}

void Disk::remove_tree(const std::string& path) const {
  std::error_code why;
  const fs::file_status status = fs::symlink_status(path, why);
  if (status.type() == fs::file_type::not_found) return;
  std::vector<std::string> entries{path};
  if (status.type() == fs::file_type::directory) {
    fs::recursive_directory_iterator walk(path, why);
    for (; !why && walk != fs::recursive_directory_iterator(); walk.increment(why))
      entries.push_back(walk->path().string());
    if (why) throw_with("cannot list", path, why);
  }
  // The walk names a folder before what is in it.
  std::for_each(entries.rbegin(), entries.rend(), [&](const std::string& entry) {
    announce("remove", entry);
    fs::remove(entry, why);
    if (why) throw_with("cannot remove", entry, why);
  });
}

OutputFile::OutputFile(const Disk& disk, const std::string& path) : disk_(disk), path_(path) {
  disk_.announce("create", path);
  file_ = Descriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file_) throw_file_error("cannot create", path);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  disk_.announce("write", path_);
  write_all(file_.get(), {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path_);
}

void OutputFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void OutputFile::finish() {
  disk_.announce("sync_file", path_);
  if (::fsync(file_.get()) != 0) throw_file_error("cannot sync", path_);
  if (file_.close() != 0) throw_file_error("cannot close", path_);
}

}  // namespace seq1f1b::base
