#include "core/data/token_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/data/tokenizer.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/data/sample_text.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::data;
using namespace seq1f1b::testing;

namespace {

using Tokens = std::vector<std::int32_t>;

void write(const std::string& prefix, const std::vector<Tokens>& documents,
           const Tokenizer* tokenizer = nullptr, int vocab_size = 1000) {
  TokenFileWriter writer(prefix, vocab_size);
  for (const Tokens& document : documents) writer.add_document(document);
  writer.finish(tokenizer);
}

}  // namespace

TEST_CASE("documents are numbered through the files") {
  const TemporaryFolder folder(memory_parent());
  write(folder.file("a"), {{1, 2}, {3}});
  write(folder.file("empty"), {});
  write(folder.file("b"), {{4, 5, 6}});
  const TokenFiles files({folder.file("a"), folder.file("empty"), folder.file("b")}, 7);
  CHECK(files.documents() == 3);
  CHECK(files.document_tokens(0) == 2);
  CHECK(files.document_tokens(2) == 3);
  Tokens tokens(2);
  files.read(2, 1, tokens);
  CHECK(tokens == Tokens{5, 6});
  CHECK(files.identities()[0].tokens == 3);
  CHECK(files.identities()[2].largest_token == 6);
}

TEST_CASE("the same documents twice are refused, under whatever names") {
  namespace fs = std::filesystem;
  const TemporaryFolder folder(memory_parent());
  const auto tokenizer = make_byte_tokenizer("\n");
  write(folder.file("a"), {{1, 2}, {3}}, tokenizer.get());
  write(folder.file("b"), {{1, 2}, {4}}, tokenizer.get());
  CHECK(TokenFiles({folder.file("a"), folder.file("b")}, 257).documents() == 4);
  std::string other;
  SECTION("another spelling") { other = folder.path() + "/./a"; }
  SECTION("links to the files") {
    other = folder.file("l");
    for (const char* ending : {".bin", ".idx"})
      fs::create_symlink(folder.file("a") + ending, other + ending);
  }
  SECTION("a link to the folder") {
    fs::create_directory_symlink(folder.path(), folder.file("there"));
    other = folder.file("there/a");
  }
  SECTION("a copy without a record") {
    other = folder.file("c");
    write(other, {{1, 2}, {3}});
  }
  CHECK(message_of<ConfigError>([&] {
          TokenFiles({folder.file("a"), folder.file("b"), other}, 257);
        }) == "data.train: " + folder.file("a") + " and " + other +
                  " are the same files or copies: their documents would be in training and in "
                  "validation; name one of them");
}

TEST_CASE("a token outside the vocabulary is found when the files are opened") {
  const TemporaryFolder folder(memory_parent());
  const auto tokenizer = make_byte_tokenizer("\n");
  const bool recorded = GENERATE(true, false);
  write(folder.file("a"), {{1, 2}, {3, 300, 5}}, recorded ? tokenizer.get() : nullptr);
  CHECK(TokenFiles({folder.file("a")}, 301).documents() == 2);
  CHECK(message_of<DataError>([&] { TokenFiles({folder.file("a")}, 300); }) ==
        folder.file("a.bin") +
            ": at byte 6: token 300 in a vocabulary of 300; was the file made with another "
            "tokenizer?");
}

TEST_CASE("a file that changes after it was opened is refused at the token that is read") {
  const TemporaryFolder folder(memory_parent());
  write(folder.file("a"), {{1, 2}, {3}});
  const TokenFiles files({folder.file("a")}, 7);
  std::fstream(folder.file("a.bin"), std::ios::in | std::ios::out | std::ios::binary)
      .seekp(2)
      .write("\x63", 1);
  Tokens tokens(2);
  CHECK(message_of<DataError>([&] { files.read(0, 0, tokens); }).find("at byte 2: token 99 in") !=
        std::string::npos);
}

TEST_CASE("all tokenizers of a run are one") {
  const TemporaryFolder folder(memory_parent());
  const auto bytes = make_byte_tokenizer("\n"), lines = make_byte_tokenizer("\n\n");
  const auto pieces = train_sentencepiece(training_text(), 300, "\n");
  std::string other_text = training_text();
  std::ranges::replace(other_text, 't', 'x');
  const auto others = train_sentencepiece(other_text, 300, "\n");
  const auto file = [&](const char* name) { return folder.file(name); };
  write(file("a"), {{1}}, bytes.get());
  write(file("b"), {{2}}, bytes.get());
  write(file("lines"), {{3}}, lines.get());
  write(file("pieces"), {{4}}, pieces.get());
  write(file("others"), {{5}}, others.get());
  write(file("foreign"), {{6}});
  const auto path_of = [&](const std::string& configured,
                           const std::vector<std::string>& prefixes) {
    return find_tokenizer(configured, prefixes).path;
  };
  CHECK(path_of("", {}).empty());
  CHECK(path_of("", {file("foreign")}).empty());
  CHECK(path_of("", {file("a"), file("b")}) == file("a.tokenizer.json"));
  CHECK(path_of("", {file("foreign"), file("b")}) == file("b.tokenizer.json"));
  // The record of the files is no part of the tokenizer.
  CHECK(path_of(file("b.tokenizer.json"), {file("a")}) == file("b.tokenizer.json"));
  CHECK(path_of(file("pieces.tokenizer.json"), {file("foreign")}) == file("pieces.tokenizer.json"));

  const auto refusal = [&](const std::string& configured,
                           const std::vector<std::string>& prefixes) {
    return message_of<ConfigError>([&] { find_tokenizer(configured, prefixes); });
  };
  CHECK(refusal("", {file("pieces"), file("foreign"), file("a")}) ==
        "data.train: " + file("pieces.tokenizer.json") + " and " + file("a.tokenizer.json") +
            " are different tokenizers (kind: \"sentencepiece\" and \"bytes\"), so that the same "
            "numbers are other text: prepare one of the two again with --tokenizer and the file of "
            "the other");
  CHECK(refusal("", {file("a"), file("lines")}).find("(document_separator: ") != std::string::npos);
  CHECK(refusal("", {file("pieces"), file("others")}).find("(their models)") != std::string::npos);
  CHECK(refusal(file("pieces.tokenizer.json"), {file("a")}) ==
        "data.tokenizer: " + file("pieces.tokenizer.json") + " is not the tokenizer of the data, " +
            file("a.tokenizer.json") +
            " (kind: \"sentencepiece\" and \"bytes\"): remove data.tokenizer, or prepare the data "
            "with it");
}
