#include <filesystem>
#include <string>

#include "tests/apps/run_program.h"
#include "tests/catch.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using apps::Outcome;
using testing::TemporaryFolder;

namespace {

// Runs in `folder`, so that messages name files without it.
Outcome prepare(const TemporaryFolder& folder, const std::string& arguments) {
  return apps::run_shell("cd '" + folder.file("") + "' && seq1f1b prepare " + arguments);
}

}  // namespace

TEST_CASE("prepare writes three files and one line") {
  const TemporaryFolder folder;
  testing::write_bytes(folder.file("text"), "one\n\ntwo\nthree");
  const Outcome outcome = prepare(folder, "text --output new/folder/x");
  CAPTURE(outcome.output);
  CHECK(outcome.code == 0);
  const std::string line =
      "prepared new/folder/x: 3 documents (1 empty left out), 14 tokens of a vocabulary of "
      "257, "
      "1.00 bytes per token, ";
  CHECK(outcome.output.substr(0, line.size()) == line);
  CHECK(outcome.output.find('\n') == outcome.output.size() - 1);
  for (const char* file : {"new/folder/x.bin", "new/folder/x.idx", "new/folder/x.tokenizer.json"})
    CHECK(std::filesystem::file_size(folder.file(file)) > 0);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.file("new/folder")), {}) == 3);
}

TEST_CASE("prepare trains quietly, and its tokenizer serves another text") {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 200; ++i)
    text += "the ship and the harbour, line " + std::to_string(i * 37) + "\n";
  testing::write_bytes(folder.file("text"), text);
  const Outcome trained =
      prepare(folder, "text --output a --tokenizer sentencepiece --vocab-size 300");
  CAPTURE(trained.output);
  REQUIRE(trained.code == 0);
  CHECK(trained.output.find("prepared a: 200 documents, ") == 0);
  CHECK(trained.output.find('\n') == trained.output.size() - 1);
  // Again with the tokenizer given, the text arriving through a pipe.
  const Outcome piped = apps::run_shell("cd '" + folder.file("") +
                                        "' && cat text | seq1f1b prepare /dev/stdin --output b "
                                        "--tokenizer a.tokenizer.json");
  REQUIRE(piped.code == 0);
  for (const std::string kind : {".bin", ".idx", ".tokenizer.json"})
    CHECK(testing::read_bytes(folder.file("a" + kind)) ==
          testing::read_bytes(folder.file("b" + kind)));
}

TEST_CASE("prepare splits at another separator") {
  const TemporaryFolder folder;
  testing::write_bytes(folder.file("text"), "a\nb\n\nc\n");
  const Outcome outcome = prepare(folder, "text --output x --document-separator '\\n\\n'");
  CAPTURE(outcome.output);
  CHECK(outcome.code == 0);
  CHECK(outcome.output.find("prepared x: 2 documents, 7 tokens ") == 0);
}

TEST_CASE("prepare takes no other file for text, unless it is told to") {
  const TemporaryFolder folder;
  const auto write = [&](const char* name, const std::string& text) {
    testing::write_bytes(folder.file(name), text);
  };
  write("windows", "one\r\ntwo\r\nthree\n");
  write("marked", "\xEF\xBB\xBFone\ntwo\n");
  write("gz", "\x1F\x8B\x08 rest");
  write("a.jsonl", "{}\n");
  write("records", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
  write("wide", "\xFF\xFEo");
  write("binary", std::string("one\0two\n", 8));
  write("braces", "{ int x; }\nreturn;\n");
  struct Sample {
    std::string arguments;
    int code;
    std::string message;
  };
  const auto sample = GENERATE(values<Sample>({
      {"windows", 2,
       "windows: 2 of 3 lines end with CRLF, as on Windows: --line-endings lf makes that a line "
       "feed, --line-endings keep takes the text as it is\n"},
      {"windows --line-endings cr", 2, "--line-endings: "},
      {"gz", 3, "gz: is compressed with gzip, not plain text: unpack it first (zcat gz | seq1f1b "},
      {"a.jsonl", 3, "a.jsonl: is JSON lines, not plain text: JSON is not read yet; "},
      {"records", 3, "records: is JSON lines, not plain text: JSON is not read yet; "},
      {"wide", 3, "wide: is UTF-16 by its byte order mark, not plain text: convert it first ("},
      {"binary", 3, "binary: holds a NUL byte, at offset 3, so it is not plain text but UTF-16, "},
      {"/dev/zero", 3, "/dev/zero: holds a NUL byte, at offset 0, so it is not plain text "},
      {"binary --as-text", 0, "1 documents, 8 tokens "},
      {"windows --line-endings lf", 0, "3 documents, 14 tokens "},
      {"windows --line-endings keep", 0, "3 documents, 16 tokens "},
      {"windows --document-separator '\\r\\n'", 0, "3 documents, 15 tokens "},
      {"marked", 0, "2 documents, 8 tokens "},
      {"marked --as-text", 0, "2 documents, 11 tokens "},
      {"records --as-text", 0, "2 documents, 32 tokens "},
      {"gz --as-text", 0, "1 documents, 9 tokens "},
      {"braces", 0, "2 documents, "},
  }));
  CAPTURE(sample.arguments);
  const Outcome outcome = prepare(folder, sample.arguments + " --output x");
  CAPTURE(outcome.output);
  CHECK(outcome.code == sample.code);
  const std::string begin = sample.code == 0 ? "prepared x: " : "seq1f1b: error: ";
  CHECK(outcome.output.find(begin + sample.message) == 0);
  CHECK(outcome.output.find('\n') == outcome.output.size() - 1);
  const auto said = [&](const char* what) {
    return outcome.output.find(what) != std::string::npos;
  };
  CHECK(said("; 2 CRLF made LF\n") == (sample.arguments == "windows --line-endings lf"));
  CHECK(said("; the byte order mark at the start left out\n") == (sample.arguments == "marked"));
}

TEST_CASE("a file-size limit leaves the old files, and is told") {
  const TemporaryFolder folder;
  testing::write_bytes(folder.file("text"), "one\ntwo\n");
  testing::write_bytes(folder.file("more"), std::string(100000, 'x') + "\n");
  REQUIRE(prepare(folder, "text --output x").code == 0);
  const auto old = [&](const char* ending) {
    return testing::read_bytes(folder.file(std::string("x") + ending));
  };
  const std::string bin = old(".bin"), idx = old(".idx"), tokenizer = old(".tokenizer.json");
  const Outcome outcome = apps::run_shell("cd '" + folder.file("") +
                                          "' && ulimit -f 8 && seq1f1b prepare more --output x");
  CAPTURE(outcome.output);
  CHECK(outcome.code == 3);
  CHECK(outcome.output.find("seq1f1b: error: cannot write x.tmp.") == 0);
  CHECK(old(".bin") == bin);
  CHECK(old(".idx") == idx);
  CHECK(old(".tokenizer.json") == tokenizer);
  CHECK(folder.entries() == 5);
}

TEST_CASE("prepare says in one line what it cannot do") {
  const TemporaryFolder folder;
  testing::write_bytes(folder.file("text"), "hello world\n");
  testing::write_bytes(folder.file("empty"), "");
  testing::write_bytes(folder.file("blank"), "\n\n\n");
  testing::write_bytes(folder.file("bad.json"), "{}");
  testing::write_bytes(folder.file("bad.model"), "no model");
  REQUIRE(prepare(folder, "text --output lines").code == 0);
  struct Sample {
    std::string arguments;
    int code;
    std::string message;
  };
  const auto sample = GENERATE_REF(values<Sample>({
      {"none --output x", 3, "cannot open none: No such file or directory"},
      {". --output x", 3, "cannot read .: Is a directory"},
      {"empty --output x", 3, "empty: the input is empty"},
      {"blank --output x", 3, "blank: holds document separators only, no document"},
      {"text --output text/x", 3, "cannot make folder text: "},
      {"text --output /proc/x", 3, "cannot create /proc/x.seq1f1b.lock: "},
      {"text --output x --tokenizer sentencepiece --vocab-size 5000", 3,
       "a vocabulary of 5000 is too large for this text, which yields at most 284 tokens"},
      {"text --output x --tokenizer sentencepiece --vocab-size 9", 3,
       "a vocabulary of 9 is too small for this text, which needs at least 266 tokens"},
      {"text --output x --tokenizer bad.json", 3, "bad.json: is not a tokenizer file: "},
      {"text --output x --tokenizer bad.model", 3, "bad.model: is not a sentencepiece model: "},
      {"text --output x --tokenizer gpt2", 2,
       "--tokenizer: 'gpt2' is not bytes, sentencepiece, a .model file or a .tokenizer.json file"},
      {"text --output x/", 2,
       "--output: 'x/' is not the prefix of files; name one, like data/corpus"},
      {"text --output .", 2, "--output: '.' is a folder, not the prefix of files; name one, like "},
      {"text --output ./", 2, "--output: './' is a folder, not the prefix of files; name one, "},
      {"text --output /tmp", 2,
       "--output: '/tmp' is a folder, not the prefix of files; name one, "
       "like /tmp/corpus"},
      {"text --output '~/x'", 2, "--output: '~/x' begins with ~, which only a shell replaces"},
      {"text --output '${DATA}/x'", 2, "--output: '${DATA}/x' holds ${DATA}, which only a shell"},
      {"text --output x --document-separator ''", 2, "the document separator is empty"},
      {"text --output x --tokenizer lines.tokenizer.json --document-separator ';'", 2,
       "--document-separator: lines.tokenizer.json was made with another separator"},
  }));
  CAPTURE(sample.arguments);
  const Outcome outcome = prepare(folder, sample.arguments);
  CAPTURE(outcome.output);
  CHECK(outcome.code == sample.code);
  CHECK(outcome.output.find("seq1f1b: error: " + sample.message) == 0);
  CHECK(outcome.output.find('\n') == outcome.output.size() - 1);
  // No half-made files stay behind.
  for (const auto& entry : std::filesystem::directory_iterator(folder.file("")))
    CHECK(entry.path().filename().string().find("x.") != 0);
}

TEST_CASE("a command of one process is refused among several ranks, in one voice") {
  const TemporaryFolder folder;
  testing::write_bytes(folder.file("text"), "hello world\n");
  const std::string command =
      GENERATE("prepare text --output x", "plan c.yaml --json x", "sample x", "doctor x");
  const std::string name = command.substr(0, command.find(' '));
  for (const bool first : {true, false}) {
    const Outcome outcome = apps::run_shell(
        "cd '" + folder.file("") + "' && export OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=" +
        (first ? "0" : "1") + " && seq1f1b " + command);
    CHECK(outcome.code == 2);
    CHECK(outcome.output == (first ? "seq1f1b: error: seq1f1b " + name +
                                         " is one process, and 2 were started: run it without "
                                         "mpirun or srun\n"
                                   : ""));
  }
  CHECK(folder.entries() == 1);
}
