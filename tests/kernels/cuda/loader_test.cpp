// Each case that goes through load_module() sets the environment first: the module is loaded once
// per process, and ctest runs one case per process.
#include <cstdlib>
#include <new>

#include "kernels/common/build_identity.h"
#include "kernels/common/errors.h"
#include "kernels/cuda/backend.h"
#include "kernels/ops.h"
#include "tests/catch.h"

namespace seq1f1b::kernels::cuda {
namespace {

std::string refusal(const std::string& path, int abi = kModuleAbi,
                    const std::string& build = build_identity()) {
  std::string why;
  CHECK(load_module_file(path, abi, build.c_str(), why) == nullptr);
  return why;
}

template <class Exception, class Call>
std::string text_of(Call&& call) {
  try {
    call();
  } catch (const Exception& error) {
    return error.what();
  }
  FAIL("nothing was thrown");
  return {};
}

bool contains(const std::string& text, const std::string& part) {
  INFO(text);
  CHECK(text.find(part) != std::string::npos);
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a module of this build loads, others are refused in words") {
  std::string why;
  CHECK(load_module_file(SEQ1F1B_FAKE_MODULE, kModuleAbi, build_identity(), why) != nullptr);
  CHECK(why.empty());
  contains(refusal(SEQ1F1B_FAKE_MODULE, kModuleAbi + 1), "refuses this program: of another build");
  contains(refusal(SEQ1F1B_FAKE_MODULE, kModuleAbi, "yesterday's"), "refuses this program");
}

TEST_CASE("a missing file, a text and a foreign library are refused in words") {
  contains(refusal("/nowhere/libx.so"), "there is no /nowhere/libx.so");
  contains(refusal(SEQ1F1B_SOURCE_DIR "/CMakeLists.txt"), "does not load");
  contains(refusal("/proc/self/exe"), "does not load");
  contains(refusal(SEQ1F1B_FOREIGN_LIBRARY), "is no CUDA module of seq1f1b");
}

TEST_CASE("without a module there are no devices and a hint") {
  setenv("SEQ1F1B_CUDA_MODULE", "/nowhere/libx.so", 1);
  std::string why;
  CHECK(device_count(&why) == 0);
  contains(why, "/nowhere/libx.so");
  const std::string text = text_of<ConfigError>([] { make_cuda_backend({}); });
  contains(text,
           "no GPU can be used: there is no /nowhere/libx.so; correct or unset "
           "SEQ1F1B_CUDA_MODULE, which names it");
  contains(text, "runtime.device=cpu");
}

TEST_CASE("every stream gets a work queue of its own, whatever others have asked the driver for") {
  setenv("SEQ1F1B_CUDA_MODULE", SEQ1F1B_FAKE_MODULE, 1);
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "1", 1);  // as scripts for other trainers do
  load_module();
  CHECK(std::string(std::getenv("CUDA_DEVICE_MAX_CONNECTIONS")) == "32");
}

TEST_CASE("a back end comes through the module and works") {
  setenv("SEQ1F1B_CUDA_MODULE", SEQ1F1B_FAKE_MODULE, 1);
  std::string why = "unset";
  CHECK(device_count(&why) == 2);
  CHECK(why.empty());
  Backend backend = make_cuda_backend({});
  CHECK(backend.name == "fake");
  DeviceBuffer memory(*backend.device, 4 * sizeof(double));
  const Tensor values(memory.data(), Dtype::kF64, {4});
  backend.ops->fill(values, 2.5);
  CHECK(values.as<double>()[3] == 2.5);
  const std::string text = text_of<ConfigError>([] { make_cuda_backend({.local_rank = -1}); });
  contains(text, "did not start: a negative rank");
}

TEST_CASE("errors thrown inside the module are caught outside by their types") {
  setenv("SEQ1F1B_CUDA_MODULE", SEQ1F1B_FAKE_MODULE, 1);
  Backend backend = make_cuda_backend({.local_rank = 1});
  Device& device = *backend.device;
  CHECK(text_of<ConfigError>([&] { (void)device.description(); }) == "thrown inside the module");
  CHECK(text_of<Error>([&] { (void)device.memory_bytes(); }) == "also inside");
  CHECK_THROWS_AS(device.allocate_host(1), std::bad_alloc);
  try {
    device.allocate(1);
    FAIL("nothing was thrown");
  } catch (const Error& error) {
    CHECK(error.code() == kExitMismatch);
  }
  // Checks inside the module's own copy of the operations.
  CHECK_THROWS_AS(backend.ops->fill(Tensor{}, 0), InternalError);
}

}  // namespace seq1f1b::kernels::cuda
