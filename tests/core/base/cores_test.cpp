#include "core/base/cores.h"

#include "tests/catch.h"

namespace seq1f1b::base {

TEST_CASE("this process has cores, of which it is given a share") {
  const std::vector<std::string> alone{core_set()};
  const std::vector<CoreShare> shares = share_cores(alone);
  REQUIRE(shares.size() == 1);
  CHECK(shares[0].cores == available_cores());
  CHECK(shares[0].processes == 1);
  CHECK(shares[0].threads() == available_cores());
}

TEST_CASE("processes with cores of their own use all of them, others take turns") {
  // Two that share a machine, two that were given half of it each, one on another machine.
  const std::vector<std::string> sets{"a 0-7", "a 0-7", "b 0-3", "b 4,6-8", "c 0-1,3"};
  const std::vector<CoreShare> shares = share_cores(sets);
  REQUIRE(shares.size() == 5);
  const auto check = [&](std::size_t process, int cores, int processes, int threads) {
    INFO(sets[process]);
    CHECK(shares[process].cores == cores);
    CHECK(shares[process].processes == processes);
    CHECK(shares[process].threads() == threads);
  };
  check(0, 8, 2, 4);
  check(1, 8, 2, 4);
  check(2, 4, 1, 4);
  check(3, 4, 1, 4);
  check(4, 3, 1, 3);
}

TEST_CASE("more processes than cores get one thread each") {
  const std::vector<std::string> sets(4, "host 2-3");
  for (const CoreShare& share : share_cores(sets)) {
    CHECK(share.processes == 4);
    CHECK(share.threads() == 1);
  }
}

}  // namespace seq1f1b::base
