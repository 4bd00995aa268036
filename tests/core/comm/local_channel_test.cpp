#include "core/comm/local_channel.h"

#include <array>

#include "kernels/common/errors.h"
#include "tests/catch.h"

using namespace seq1f1b;

namespace {

std::string doing() { return "running a test"; }

}  // namespace

TEST_CASE("a local channel hands messages over in order, in place, within its depth", "[comm]") {
  std::array<std::array<std::byte, 8>, 2> memory{};
  comm::LocalChannel ends = comm::make_local_channel({memory[0], memory[1]});
  const std::array<std::size_t, 2> sizes{8, 4};
  ends.receiver->expect(sizes);

  CHECK_THROWS_AS(ends.receiver->wait(doing), InternalError);  // nothing there
  CHECK(ends.sender->acquire(doing) == memory[0].data());
  CHECK_THROWS_AS(ends.receiver->wait(doing), InternalError);  // not yet handed over
  ends.sender->commit(8);
  CHECK(ends.sender->acquire(doing) == memory[1].data());
  ends.sender->commit(4);
  CHECK_THROWS_AS(ends.sender->acquire(doing), InternalError);  // full
  CHECK_THROWS_AS(ends.sender->commit(4), InternalError);       // nothing acquired
  CHECK_THROWS_AS(ends.receiver->release(), InternalError);     // nothing taken

  CHECK(ends.receiver->wait(doing) == memory[0].data());
  CHECK_THROWS_AS(ends.sender->acquire(doing), InternalError);  // taken, not released
  ends.receiver->release();
  CHECK(ends.sender->acquire(doing) == memory[0].data());
  CHECK_THROWS_AS(ends.sender->commit(9), InternalError);  // longer than its buffer
  ends.sender->commit(8);
  CHECK(ends.receiver->wait(doing) == memory[1].data());
  CHECK(ends.receiver->wait(doing) == memory[0].data());
}

TEST_CASE("a channel has a buffer at least", "[comm]") {
  CHECK_THROWS_AS(comm::make_local_channel({}), InternalError);
}
