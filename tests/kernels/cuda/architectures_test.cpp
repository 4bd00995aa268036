#include "kernels/cuda/architectures.h"
#include "tests/catch.h"

using seq1f1b::kernels::cuda::kernel_architecture;

TEST_CASE("a device gets the best kernels that run on it") {
  const char* const usual = "80-real,90a-real";
  CHECK(kernel_architecture(usual, 8, 0) == 80);
  CHECK(kernel_architecture(usual, 8, 9) == 80);
  CHECK(kernel_architecture(usual, 9, 0) == 90);
  CHECK(kernel_architecture("90a-real,80-virtual", 9, 0) == 90);
}

TEST_CASE("a device without code of its own runs none") {
  CHECK(kernel_architecture("80-real,90a-real", 7, 5) == 0);
  CHECK(kernel_architecture("80-real,90a-real", 10, 0) == 0);
  CHECK(kernel_architecture("89-real", 8, 0) == 0);
  CHECK(kernel_architecture("", 9, 0) == 0);
  CHECK(kernel_architecture("native", 9, 0) == 0);
}

TEST_CASE("portable code runs on later devices") {
  CHECK(kernel_architecture("80-virtual", 10, 0) == 80);
  CHECK(kernel_architecture("80", 9, 0) == 80);
  CHECK(kernel_architecture("90-real", 9, 0) == 80);
}
