// The module that was built, loaded where there may be no GPU. What needs one says so and ends.
#include <cstdlib>

#include "kernels/common/build_identity.h"
#include "kernels/common/errors.h"
#include "kernels/cuda/backend.h"
#include "tests/catch.h"

namespace seq1f1b::kernels::cuda {

TEST_CASE("the real module loads beside the program and refuses other builds") {
  unsetenv("SEQ1F1B_CUDA_MODULE");
  std::string why;
  const Module* const module = load_module(&why);
  INFO(why);
  REQUIRE(module != nullptr);
  CHECK(module->libraries().find("NCCL 2.") != std::string::npos);
  CHECK(load_module_file(SEQ1F1B_REAL_MODULE, kModuleAbi + 1, build_identity(), why) == nullptr);
  CHECK(why.find("it is of another build, [commit ") != std::string::npos);
  CHECK(load_module_file(SEQ1F1B_REAL_MODULE, kModuleAbi, "commit 0", why) == nullptr);
}

// As much of NCCL itself as runs without a GPU: it starts and listens for members.
TEST_CASE("the real module names communicators, each anew") {
  unsetenv("SEQ1F1B_CUDA_MODULE");
  const Module* const module = load_module();
  REQUIRE(module != nullptr);
  CommunicatorId first{}, second{};
  std::string error;
  REQUIRE(module->make_communicator_id(first, error));
  REQUIRE(module->make_communicator_id(second, error));
  CHECK(error.empty());
  CHECK(first != second);
}

TEST_CASE("without a GPU the real module says why") {
  setenv("SEQ1F1B_CUDA_MODULE", SEQ1F1B_REAL_MODULE, 1);  // asked even where there is no driver
  std::string why;
  if (device_count(&why) > 0) {
    CHECK(why.empty());
    return;
  }
  INFO(why);
  CHECK(why.find("(cudaError") != std::string::npos);
  CHECK(why.find("no NVIDIA driver that serves CUDA") != std::string::npos);
  try {
    make_cuda_backend({});
    FAIL("a back end without a device");
  } catch (const ConfigError& error) {
    CHECK(std::string(error.what()).find("runtime.device=cpu") != std::string::npos);
  }
  std::string error;
  CHECK(load_module()->make_backend({}, error) == nullptr);
  CHECK(error.find("no NVIDIA driver") != std::string::npos);
}

}  // namespace seq1f1b::kernels::cuda
