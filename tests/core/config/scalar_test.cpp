#include <cstdint>
#include <limits>
#include <random>

#include "core/config/scalar.h"
#include "tests/catch.h"

using namespace seq1f1b::config;

TEST_CASE("whole numbers are read from decimal and exponent form") {
  struct Sample {
    const char* text;
    std::int64_t value;
  };
  const auto sample = GENERATE(
      values<Sample>({{"0", 0},
                      {"-0", 0},
                      {"7", 7},
                      {"+7", 7},
                      {"-12", -12},
                      {"1e9", 1000000000},
                      {"1E3", 1000},
                      {"2.5e3", 2500},
                      {"12.0", 12},
                      {"1200e-2", 12},
                      {"0e5", 0},
                      {"0.0", 0},
                      {".5e1", 5},
                      {"9223372036854775807", std::numeric_limits<std::int64_t>::max()},
                      {"-9223372036854775808", std::numeric_limits<std::int64_t>::min()}}));
  CAPTURE(sample.text);
  std::int64_t value = -99;
  CHECK(read_number(sample.text, value) == "");
  CHECK(value == sample.value);
}

TEST_CASE("whole numbers that could mean something else are refused and nothing is set") {
  const std::string text =
      GENERATE("", "-", "+", "010", "-007", "1_000", "0x10", "0o10", "0b1", "1.5", "1e-4", "25e-1",
               "1e", "1e+-3", "100e+-2", "--1", "1 ", " 1", "1,000", "nan", ".inf", "e3", ".",
               "true", "1e99999", "9223372036854775808", "-9223372036854775809", "1e30");
  CAPTURE(text);
  std::int64_t value = -99;
  CHECK(read_number(text, value) != "");
  CHECK(value == -99);
}

TEST_CASE("refusals say what to write instead") {
  int value = 0;
  CHECK(read_number("010", value) ==
        "'010' has a leading zero, which some YAML readers take for octal; write 10");
  CHECK(read_number("-000", value) ==
        "'-000' has a leading zero, which some YAML readers take for octal; write -0");
  CHECK(read_number("1_000", value) == "'1_000' has digit separators; write 1000");
  CHECK(read_number("3000000000", value) == "'3000000000' is outside -2147483648 to 2147483647");
  std::uint64_t seed = 0;
  CHECK(read_number("-1", seed) == "'-1' is outside 0 to 18446744073709551615");
  CHECK(read_number("18446744073709551615", seed) == "");
  CHECK(seed == std::numeric_limits<std::uint64_t>::max());
}

TEST_CASE("real numbers are finite and decimal") {
  double value = 0;
  CHECK(read_number("3e-4", value) == "");
  CHECK(value == 3e-4);
  CHECK(read_number("+1", value) == "");
  CHECK(value == 1.0);
  CHECK(read_number("-.5", value) == "");
  CHECK(value == -0.5);
  for (const char* text : {"", "inf", ".inf", "nan", "0x1p3", "1e400", "1.2.3", "01.5", "1_0.5"}) {
    CAPTURE(text);
    CHECK(read_number(text, value) != "");
    CHECK(value == -0.5);
  }
}

TEST_CASE("numbers are printed with a point and read back exactly") {
  CHECK(number_text(1) == "1.0");
  CHECK(number_text(1e-5) == "1.0e-05");
  CHECK(number_text(0.1) == "0.1");
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) {
    const double number = std::ldexp(static_cast<double>(random()), int(random() % 200) - 150);
    double read = 0;
    REQUIRE(read_number(number_text(number), read) == "");
    REQUIRE(read == number);
  }
}

TEST_CASE("texts are quoted unless they are plain words or paths") {
  CHECK(quoted_text("flops") == "flops");
  CHECK(quoted_text("/data/bible-2_text.document") == "/data/bible-2_text.document");
  CHECK(quoted_text("true") == "true");
  CHECK(quoted_text("") == "\"\"");
  CHECK(quoted_text("1f1b") == "\"1f1b\"");
  CHECK(quoted_text("Null") == "\"Null\"");
  CHECK(quoted_text("yes") == "\"yes\"");
  CHECK(quoted_text("~") == "\"~\"");
  CHECK(quoted_text("a: b # c") == "\"a: b # c\"");
  CHECK(quoted_text("say \"\\\"\n") == "\"say \\\"\\\\\\\"\\x0a\"");
}
