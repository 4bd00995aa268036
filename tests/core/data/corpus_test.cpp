#include "core/data/corpus.h"

#include <cstdio>
#include <filesystem>
#include <memory>

#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/data/sample_text.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::data;
using namespace seq1f1b::testing;

namespace {

std::vector<std::string> split(std::string_view text, std::string_view separator) {
  std::vector<std::string> documents;
  DocumentReader reader(text, separator);
  for (std::string_view document; reader.next(document);) documents.emplace_back(document);
  return documents;
}

// The whole token file as text again.
std::string restore(const std::string& prefix, const Tokenizer& tokenizer) {
  const TokenFile file(prefix);
  std::string text;
  for (std::int64_t i = 0; i < file.documents(); ++i) {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(file.document_tokens(i)));
    file.read(i, 0, tokenizer.vocab_size(), tokens);
    REQUIRE(tokens.back() == tokenizer.end_of_document());
    text += tokenizer.decode(tokens);
  }
  return text;
}

CorpusCounts encode(const std::string& prefix, const Tokenizer& tokenizer, std::string_view text,
                    std::string_view separator, int threads) {
  TokenFileWriter writer(prefix, tokenizer.vocab_size());
  const CorpusCounts counts = encode_corpus(text, separator, tokenizer, threads, writer);
  writer.finish();
  return counts;
}

struct PipeCloser {
  void operator()(std::FILE* pipe) const { ::pclose(pipe); }
};

std::string output_of(const char* command) {
  const std::unique_ptr<std::FILE, PipeCloser> pipe(::popen(command, "r"));
  std::string text;
  char block[1 << 16];
  for (std::size_t count; pipe && (count = std::fread(block, 1, sizeof block, pipe.get())) > 0;)
    text.append(block, count);
  return text;
}

}  // namespace

TEST_CASE("documents lie between separators") {
  using Documents = std::vector<std::string>;
  CHECK(split("", "\n") == Documents{});
  CHECK(split("a", "\n") == Documents{"a"});
  CHECK(split("a\n", "\n") == Documents{"a"});
  CHECK(split("a\nb", "\n") == Documents{"a", "b"});
  CHECK(split("\na\n\nb\n\n", "\n") == Documents{"", "a", "", "b", ""});
  CHECK(split("a\r\nb", "\n") == Documents{"a\r", "b"});
  CHECK(split("a\nb\n\nc\n\n\n", "\n\n") == Documents{"a\nb", "c", "\n"});
  CHECK(split("a<|end|>b", "<|end|>") == Documents{"a", "b"});
}

TEST_CASE("a text comes back from its token file, without its empty documents") {
  TemporaryFolder folder;
  const auto tokenizer = make_byte_tokenizer("\n");
  const CorpusCounts counts =
      encode(folder.file("x"), *tokenizer, "one\n\n two \n\n\nthree", "\n", 2);
  CHECK(counts.documents == 3);
  CHECK(counts.empty_documents == 3);
  CHECK(counts.tokens == 16);
  CHECK(counts.bytes == 16);
  CHECK(restore(folder.file("x"), *tokenizer) == "one\n two \nthree\n");
}

TEST_CASE("threads and batches change nothing in the files") {
  TemporaryFolder folder;
  std::string text;
  while (text.size() < 3'000'000) text += training_text();  // several batches per thread
  const auto tokenizer = train_sentencepiece(training_text(), 300, "\n");
  for (const int threads : {1, 2, 5})
    encode(folder.file(std::to_string(threads)), *tokenizer, text, "\n", threads);
  for (const char* kind : {".bin", ".idx"}) {
    const std::string expected = read_bytes(folder.file(std::string("1") + kind));
    CHECK(read_bytes(folder.file(std::string("2") + kind)) == expected);
    CHECK(read_bytes(folder.file(std::string("5") + kind)) == expected);
  }
  CHECK(restore(folder.file("1"), *tokenizer) == text);
}

TEST_CASE("the King James Bible: trained, encoded and restored") {
  if (!std::filesystem::exists("/usr/bin/bible")) {
    WARN("skipped: /usr/bin/bible (package bible-kjv) is not installed");
    return;
  }
  const std::string text = output_of("/usr/bin/bible -f gen1:1-rev22:21");
  REQUIRE(text.size() > 4'000'000);
  TemporaryFolder folder;
  const auto tokenizer = train_sentencepiece(text, 2048, "\n");
  CHECK(tokenizer->vocab_size() == 2048);
  const CorpusCounts counts = encode(folder.file("kjv"), *tokenizer, text, "\n", 2);
  CHECK(counts.documents == 31102);
  CHECK(counts.bytes == static_cast<std::int64_t>(text.size()));
  CHECK(static_cast<double>(counts.bytes) / static_cast<double>(counts.tokens) > 3.3);
  CHECK(restore(folder.file("kjv"), *tokenizer) == text);
}
