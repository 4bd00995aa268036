#pragma once
// Files that must survive a crash. Order of a safe replacement: write a temporary file, fsync it,
// rename it, fsync the folder; a rename alone may reach the disk before the data does.
//
// All functions throw DataError naming the action, the path and the reason of the system.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "core/base/descriptor.h"

namespace seq1f1b::base {

// "cannot open /a/b: No such file or directory", from errno.
[[noreturn]] void throw_file_error(const char* action, const std::string& path);

// What a file system function of the standard library has thrown, in the same words.
std::string text_of(const std::filesystem::filesystem_error& error);

// Whether there is something at the path, or a folder; links are followed. Not being allowed to
// look is an error, not a no.
bool exists(const std::string& path);
bool is_folder(const std::string& path);

// The whole file as text, or up to the first block with which `go_on` is not content.
std::string read_file(const std::string& path,
                      const std::function<bool(std::string_view block)>& go_on = {});

// Bytes that ordinary users may still write where `path` is.
std::uint64_t free_space(const std::string& path);

// Throws when the file system that holds `path` has less than `bytes` free for ordinary users.
void require_free_space(const std::string& path, std::uint64_t bytes);

// Writes what a user may have named. A file is replaced atomically: at any moment it has the old
// contents or the new ones, also after power loss, and it keeps its mode. No other file is touched:
// what is written first has a new name beside it, and goes when this fails. Whatever else is at
// `path` stays and is written to: a link leads to the file that is replaced, a device, pipe or
// standard stream takes the contents. A pipe that nobody reads is refused after two seconds.
void atomic_write_file(const std::string& path, std::string_view contents);

// The file that a rename has to replace for contents to appear at `path`: the path itself, or what
// a link there leads to, so that the link stays. Throws where something is there that is no file.
std::string replaceable_file(const std::string& path);

// Called before each step that changes the disk, with the step's name and the path. Tests stop the
// process there, or throw as if the step had failed.
using DiskObserver = std::function<void(std::string_view step, const std::string& path)>;

class OutputFile;

// Everything that changes a disk, each change announced to an observer.
class Disk {
 public:
  Disk() = default;
  explicit Disk(DiskObserver observer) : observer_(std::move(observer)) {}

  OutputFile create(const std::string& path) const;                       // "create"
  void write_file(const std::string& path, std::string_view text) const;  // a new file, synced
  // At any moment the file has the old contents or the new ones, also after power loss. Whatever is
  // at `path`, and at `path`.tmp, is replaced by a file: of names that are ours alone. Two
  // processes must not replace the same path at once.
  void replace_file(const std::string& path, std::string_view text) const;
  // "make_directory"; parents too, may exist. Each new one is synced into its parent.
  void make_directory(const std::string& path) const;
  void sync_directory(const std::string& path) const;                 // "sync_directory"
  void rename(const std::string& from, const std::string& to) const;  // "rename"; not yet synced
  // "remove", once per file and folder, deepest first. Links are removed, not followed. Nothing
  // happens when there is nothing at `path`.
  void remove_tree(const std::string& path) const;

 private:
  friend class OutputFile;
  void announce(std::string_view step, const std::string& path) const {
    if (observer_) observer_(step, path);
  }

  DiskObserver observer_;
};

// A file being written from front to back. Left unfinished when finish() was not called. The disk
// must outlive it.
class OutputFile {
 public:
  OutputFile(const Disk& disk, const std::string& path);  // creates, or empties an existing file
  void write(std::span<const std::byte> bytes);           // "write"
  void write(std::string_view text);
  void finish();  // "sync_file": fsync, then close

 private:
  const Disk& disk_;
  std::string path_;
  Descriptor file_;
};

}  // namespace seq1f1b::base
