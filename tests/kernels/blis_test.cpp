// The kernels that a build of BLIS has, and those that it lacks.
#include "kernels/common/errors.h"
#include "kernels/cpu/blis_kernels.h"
#include "tests/catch.h"

namespace seq1f1b::kernels::testing {

TEST_CASE("kernels that BLIS was built without are named, with what to install") {
  CHECK(cpu::blis_kernels(bli_arch_query_id()) != nullptr);
#if defined(__x86_64__)
  const arch_t lacking = BLIS_ARCH_POWER9;
  const std::string name = "power9";
#else
  const arch_t lacking = BLIS_ARCH_HASWELL;
  const std::string name = "haswell";
#endif
  std::string message;
  try {
    cpu::blis_kernels(lacking);
  } catch (const Error& error) {
    CHECK(error.code() == kExitUnexpected);
    message = error.what();
  }
  CHECK(message.starts_with("the BLIS of this program lacks the kernels \"" + name + "\""));
  CHECK(message.find("libblis-serial-dev") != std::string::npos);
}

}  // namespace seq1f1b::kernels::testing
