// The run that docs/numerics.md gives to compare with: done as it is written there, its numbers are
// those of the table.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "tests/apps/run_program.h"
#include "tests/catch.h"

using seq1f1b::apps::run_shell;

namespace {

// The lines of a block of code after the line that ends with `before`, without their indent.
std::string block_after(const std::string& document, const std::string& before) {
  std::istringstream lines(document.substr(document.find(before) + before.size()));
  std::string block;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("    "))
      block += line.substr(4) + "\n";
    else if (!block.empty())
      break;
  }
  return block;
}

// The cells of the row whose first cell is `name`.
std::vector<double> row_of(const std::string& document, const std::string& name) {
  const std::string start = "\n| " + name + " | ";
  const std::size_t begin = document.find(start);
  REQUIRE(begin != std::string::npos);
  std::istringstream cells(
      document.substr(begin + start.size(), document.find('\n', begin + 1) - begin - start.size()));
  std::vector<double> values;
  for (std::string cell; std::getline(cells, cell, '|');)
    if (cell.find_first_of("0123456789") != std::string::npos) values.push_back(std::stod(cell));
  return values;
}

}  // namespace

TEST_CASE("the run of docs/numerics.md has the numbers that stand there") {
  const std::string page = seq1f1b::base::read_file(SEQ1F1B_SOURCE_DIR "/docs/numerics.md");
  const std::string document = page.substr(page.find("## A run to compare with"));
  const std::string folder = SEQ1F1B_BINARY_DIR "/test_documented_run";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  seq1f1b::base::atomic_write_file(folder + "/small.yaml",
                                   block_after(document, "with this small.yaml:"));
  const auto outcome = run_shell("cd '" + folder + "'; set -e\n" +
                                 block_after(document, "## A run to compare with") + ":");
  INFO(outcome.output);
  REQUIRE(outcome.code == 0);

  int steps = 0, evaluations = 0;
  const std::vector<std::string> runs{"small", "small_llama"};
  for (std::size_t run = 0; run < runs.size(); ++run) {
    std::istringstream lines(seq1f1b::base::read_file(folder + "/" + runs[run] + "/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const auto object = nlohmann::json::parse(line);
      INFO(line);
      if (object.contains("loss")) {
        const auto row = row_of(document, std::to_string(object["step"].get<int>()));
        REQUIRE(row.size() == 5);
        CHECK(object["loss"].get<double>() == Approx(row[2 * run]).epsilon(1e-12));
        CHECK(object["grad_norm"].get<double>() == Approx(row[2 * run + 1]).epsilon(1e-12));
        CHECK(object["learning_rate"].get<double>() == Approx(row[4]).epsilon(1e-12));
        ++steps;
      } else if (object["event"] == "evaluation") {
        const auto& evaluation = object["evaluation"];
        CHECK(evaluation["validation_loss"].get<double>() ==
              Approx(row_of(document, "validation loss").at(run)).epsilon(1e-12));
        CHECK(evaluation["validation_bits_per_byte"].get<double>() ==
              Approx(row_of(document, "bits per byte").at(run)).epsilon(1e-12));
        ++evaluations;
      }
    }
  }
  CHECK(steps == 20);
  CHECK(evaluations == 2);
}
