#pragma once
// The commands of `seq1f1b`. main.cpp turns the command line into these plain structs, so that no
// command depends on the parser; each run_* returns one of the documented exit codes or throws
// Error.
#include <cstdint>
#include <string>
#include <vector>

namespace seq1f1b::apps {

struct TrainArguments {
  std::string config;                  // YAML file
  std::vector<std::string> overrides;  // "section.key=value", applied in order
  std::string command_line;            // the whole of it, for the record
  bool dry_run = false;                // check and print derived values only
  bool print_config = false;           // print the resolved configuration as YAML only
  int world_size = 0;  // ranks assumed by dry_run and print_config; 0: launched, else tp * cp * pp
};
int run_train(const TrainArguments& arguments);

struct PlanArguments {
  std::string config;
  std::vector<std::string> overrides;
  int world_size = 0;  // 0: tp * cp * pp
  std::string json;    // file to write; empty: none
  std::string svg;     // file to write; empty: none
};
int run_plan(const PlanArguments& arguments);

struct PrepareArguments {
  std::string input;   // UTF-8, or any other bytes but NUL
  std::string output;  // prefix of PREFIX.bin, PREFIX.idx and PREFIX.tokenizer.json
  // "bytes", "sentencepiece" (trained on the input), a .model file or a .tokenizer.json file.
  std::string tokenizer = "bytes";
  int vocab_size = 8192;                  // of a tokenizer trained here
  std::string document_separator = "\n";  // escapes already replaced
  std::string line_endings;               // of CRLF: "keep", "lf"; empty: refused
  bool as_text = false;                   // whatever the name and first bytes of the input say
};
int run_prepare(const PrepareArguments& arguments);

struct SampleArguments {
  std::string checkpoint;  // a checkpoint, or a run directory (then its latest)
  std::string prompt;
  int tokens = 200;
  double temperature = 1.0;  // 0: always the likeliest token
  int top_k = 0;             // 0: all tokens
  std::uint64_t seed = 1234;
  int threads = 0;  // 0: all cores
};
int run_sample(const SampleArguments& arguments);

struct DoctorArguments {
  std::string run_directory;
  int actions = 4;  // of every rank
};
int run_doctor(const DoctorArguments& arguments);

}  // namespace seq1f1b::apps
