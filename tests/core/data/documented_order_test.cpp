// The numbers of docs/data.md, which other programs rely on.
#include <string>
#include <vector>

#include "core/data/dataset.h"
#include "core/data/permutation.h"
#include "core/data/tokenizer.h"
#include "kernels/common/philox.h"
#include "tests/catch.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::data;
using namespace seq1f1b::testing;
using Numbers = std::vector<std::int64_t>;

namespace {

constexpr int kEndOfDocument = 256;

// Sample `index` as docs/data.md writes it.
std::string text_of(const Dataset& dataset, std::int64_t index) {
  std::vector<std::int32_t> tokens(5);
  dataset.sample(index, tokens);
  std::string text;
  for (const std::int32_t token : tokens)
    text += token == kEndOfDocument ? '.' : static_cast<char>(token);
  return text;
}

Numbers windows(std::int64_t count, std::int64_t size, std::uint64_t epoch) {
  Numbers order;
  for (std::int64_t i = 0; i < count; ++i)
    order.push_back(permute(i, size, kernels::name_key("data.windows", 1234), epoch));
  return order;
}

}  // namespace

TEST_CASE("random numbers and keys are those that docs/data.md gives") {
  using Words = std::array<std::uint32_t, 4>;
  CHECK(kernels::philox(0, 0, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(kernels::philox(0x0123456789abcdef, 5, 1) ==
        Words{0x22252b2a, 0xdcea3022, 0x86f0ceb0, 0xd1cdb8d1});
  CHECK(kernels::name_key("", 0) == 0xcbf29ce484222325);
  CHECK(kernels::name_key("data.documents", 1234) == 0xb204a76c1e429067);
  CHECK(kernels::name_key("data.windows", 1234) == 0xab860ab601b20980);
}

TEST_CASE("the order of samples is the one that docs/data.md gives") {
  Numbers documents{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  shuffle(documents, kernels::name_key("data.documents", 1234));
  CHECK(documents == Numbers{9, 4, 8, 1, 0, 3, 5, 6, 7, 2});
  CHECK(windows(12, 12, 0) == Numbers{7, 0, 10, 5, 8, 6, 1, 11, 4, 9, 2, 3});
  CHECK(windows(12, 12, 1) == Numbers{5, 7, 0, 10, 9, 8, 3, 1, 2, 11, 6, 4});
  CHECK(windows(5, 1000, 0) == Numbers{339, 601, 171, 711, 677});
  // Where the halves just suffice.
  CHECK(windows(16, 16, 0) == Numbers{7, 0, 10, 5, 8, 6, 13, 11, 4, 9, 2, 15, 1, 14, 12, 3});

  const TemporaryFolder folder;
  TokenFileWriter writer(folder.file("letters"), kEndOfDocument + 1);
  for (int i = 0; i < 10; ++i) {
    std::vector<std::int32_t> document(static_cast<std::size_t>(i + 1), 'a' + i);
    document.push_back(kEndOfDocument);
    writer.add_document(document);
  }
  writer.finish();
  DatasetSpec spec;
  spec.prefixes = {folder.file("letters")};
  spec.proportions = {8, 2, 0};
  spec.seq_length = 4;
  spec.seed = 1234;
  spec.vocab_size = kEndOfDocument + 1;
  const Dataset training(spec);
  CHECK(training.tokens() == 52);
  CHECK(training.windows() == 12);
  CHECK(text_of(training, 0) == "b.a.d");
  CHECK(text_of(training, 1) == "jjjjj");
  CHECK(text_of(training, 2) == "fff.g");
  CHECK(text_of(training, 12) == "iiiii");
  CHECK(text_of(training, 13) == "b.a.d");
  spec.split = Split::kValidation;
  const Dataset validation(spec);
  CHECK(validation.windows() == 3);
  CHECK(text_of(validation, 0) == "hhhhh");
  CHECK(text_of(validation, 1) == "hhhh.");
  CHECK(text_of(validation, 2) == ".ccc.");
}
