// What a Disk announces as synced has really been handed to fsync, or a loss of power takes it.
// The fsync of this program is replaced by one that notes what it is called on.
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "core/base/files.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/support/temporary_folder.h"

namespace {

std::vector<std::string> synced;  // paths, in the order of the calls
int refusal = 0;                  // errno of the next call, which then does nothing

}  // namespace

extern "C" int fsync(int file) {
  if (refusal != 0) {
    errno = refusal;
    refusal = 0;
    return -1;
  }
  std::array<char, 4096> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(file);
  if (::readlink(link.c_str(), path.data(), path.size() - 1) > 0) synced.emplace_back(path.data());
  return static_cast<int>(::syscall(SYS_fsync, file));
}

using namespace seq1f1b;
using namespace seq1f1b::testing;

using Paths = std::vector<std::string>;

TEST_CASE("A written file is synced, and a replaced one with its folder") {
  const TemporaryFolder folder;
  const base::Disk disk;
  synced.clear();
  disk.write_file(folder.file("f"), "x");
  CHECK(synced == Paths{folder.file("f")});
  synced.clear();
  disk.replace_file(folder.file("f"), "y");
  CHECK(synced == Paths{folder.file("f.tmp"), folder.path()});
  synced.clear();
  disk.sync_directory(folder.path());
  CHECK(synced == Paths{folder.path()});
  synced.clear();
  base::atomic_write_file(folder.file("f"), "z");
  REQUIRE(synced.size() == 2);
  CHECK(synced[0].starts_with(folder.file("f.tmp.")));
  CHECK(synced[1] == folder.path());
}

TEST_CASE("New folders are synced into the folders that name them") {
  const TemporaryFolder folder;
  const base::Disk disk;
  synced.clear();
  disk.make_directory(folder.file("a/b"));
  CHECK(synced == Paths{folder.path(), folder.file("a")});
  synced.clear();
  disk.make_directory(folder.file("a/b"));  // nothing is new
  CHECK(synced.empty());
  disk.make_directory(folder.file("a/b/c/"));
  CHECK(synced == Paths{folder.file("a/b")});
}

TEST_CASE("A sync that fails is an error, but for a file system that cannot sync folders") {
  const TemporaryFolder folder;
  const base::Disk disk;
  refusal = EIO;
  CHECK(message_of<DataError>([&] { disk.write_file(folder.file("f"), "x"); }) ==
        "cannot sync " + folder.file("f") + ": Input/output error");
  refusal = EIO;
  CHECK(message_of<DataError>([&] { disk.sync_directory(folder.path()); }) ==
        "cannot sync folder " + folder.path() + ": Input/output error");
  refusal = EINVAL;
  CHECK_NOTHROW(disk.sync_directory(folder.path()));
  CHECK(refusal == 0);
}
