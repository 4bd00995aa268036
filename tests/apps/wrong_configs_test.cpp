// Golden files: each NAME.yaml in wrong_configs/ is refused with exactly the text of NAME.expected.
// A first line "# arguments: ..." is added to the command line. To accept new messages:
//   cd tests/apps/wrong_configs && for f in *.yaml; do
//     seq1f1b train $f --dry-run $(sed -n '1s/^# arguments: //p' $f) 2> ${f%.yaml}.expected; done
#include <filesystem>
#include <string>

#include "core/base/files.h"
#include "tests/apps/run_program.h"
#include "tests/catch.h"

using namespace seq1f1b;

namespace {

std::string arguments_of(const std::string& yaml) {
  const std::string prefix = "# arguments: ";
  if (!yaml.starts_with(prefix)) return "";
  return yaml.substr(prefix.size(), yaml.find('\n') - prefix.size());
}

}  // namespace

TEST_CASE("wrong configurations are refused with one message and exit code 2") {
  const std::string folder = SEQ1F1B_SOURCE_DIR "/tests/apps/wrong_configs";
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".yaml") continue;
    const std::string name = entry.path().filename().string();
    CAPTURE(name);
    const std::string arguments = arguments_of(base::read_file(entry.path().string()));
    const apps::Outcome outcome =
        apps::run_shell("cd '" + folder + "' && seq1f1b train " + name + " --dry-run " + arguments);
    auto expected = entry.path();
    CHECK(outcome.output == base::read_file(expected.replace_extension(".expected").string()));
    CHECK(outcome.code == 2);
    ++count;
  }
  CHECK(count >= 10);
}
