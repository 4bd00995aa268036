#include "core/base/text.h"

#include <cstdint>

#include "core/base/clock.h"
#include "tests/catch.h"

using namespace seq1f1b::base;

TEST_CASE("Byte counts have three digits and a binary unit") {
  CHECK(bytes_text(0) == "0 B");
  CHECK(bytes_text(999) == "999 B");
  CHECK(bytes_text(1000) == "0.98 KiB");
  CHECK(bytes_text(1024) == "1.00 KiB");
  CHECK(bytes_text(10 * 1024) == "10.0 KiB");
  CHECK(bytes_text(999 * 1024) == "999 KiB");
  CHECK(bytes_text(1000 * 1024) == "0.98 MiB");
  CHECK(bytes_text(1342177280) == "1.25 GiB");
  CHECK(bytes_text(UINT64_MAX) == "16.0 EiB");
}

TEST_CASE("Lists are joined") {
  CHECK(join({}) == "");
  CHECK(join({"a"}) == "a");
  CHECK(join({"a", "", "c"}, "+") == "a++c");
}

TEST_CASE("Clocks") {
  const double first = monotonic_seconds();
  CHECK(monotonic_seconds() >= first);
  const std::string now = utc_text();
  REQUIRE(now.size() == 20);
  CHECK(now[10] == 'T');
  CHECK(now.back() == 'Z');
  CHECK(now >= "2024");
}
