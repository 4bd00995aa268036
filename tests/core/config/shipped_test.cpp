#include <filesystem>

#include "tests/catch.h"
#include "tests/core/config/helpers.h"

using namespace seq1f1b::config;

TEST_CASE("every shipped configuration loads and is valid") {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(SEQ1F1B_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".yaml") continue;
    CAPTURE(entry.path().string());
    Loaded loaded = load(entry.path().string(), {});
    resolve(loaded);
    CHECK_NOTHROW(validate(loaded.config, 0));
    for (const char* dtype : {"bf16", "fp32"}) {
      loaded = load(entry.path().string(),
                    {"runtime.device=cuda", std::string("runtime.compute_dtype=") + dtype});
      resolve(loaded);
      CHECK_NOTHROW(validate(loaded.config, 0));
    }
    ++count;
  }
  CHECK(count >= 4);
}
