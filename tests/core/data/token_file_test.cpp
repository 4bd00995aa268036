#include "core/data/token_file.h"

#include <cstring>
#include <filesystem>
#include <numeric>

#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::data;
using namespace seq1f1b::testing;
using namespace std::string_literals;

namespace {

using Tokens = std::vector<std::int32_t>;

// Builds expected files independently of the writer.
template <class Value>
std::string little_endian(Value value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof value; ++i)
    bytes += static_cast<char>(static_cast<std::uint64_t>(value) >> 8 * i & 255u);
  return bytes;
}

struct Files {
  std::string index;
  std::string content;
};

// Sequences of lengths 2, 0 and 1 in documents {0, 1} and {2}, tokens 5, 6, 7.
template <class Token>
Files hand_made(std::uint8_t dtype) {
  Files files;
  files.index = "MMIDIDX\0\0"s + little_endian<std::uint64_t>(1) + static_cast<char>(dtype) +
                little_endian<std::uint64_t>(3) + little_endian<std::uint64_t>(3);
  for (const std::int32_t length : {2, 0, 1}) files.index += little_endian(length);
  for (const std::int64_t start : {0, 2, 2})
    files.index += little_endian(static_cast<std::int64_t>(start * sizeof(Token)));
  for (const std::int64_t sequence : {0, 2, 3}) files.index += little_endian(sequence);
  for (const int token : {5, 6, 7}) files.content += little_endian(static_cast<Token>(token));
  return files;
}

class Fixture {
 public:
  Fixture() : prefix(folder.file("x")) {}
  void write(const Files& files) const {
    write_bytes(prefix + ".idx", files.index);
    write_bytes(prefix + ".bin", files.content);
  }
  // What opening says, with the folder's name taken out.
  std::string refusal() const {
    std::string text = message_of<DataError>([&] { TokenFile file(prefix); });
    for (std::size_t at; (at = text.find(prefix)) != std::string::npos;) {
      text.erase(at + 1, prefix.size() - 1);
      text[at] = 'x';
    }
    return text;
  }
  std::string refusal(const Files& files) const {
    write(files);
    return refusal();
  }

  TemporaryFolder folder;
  std::string prefix;
};

Tokens read_document(const TokenFile& file, std::int64_t document, int vocab_size = 100000) {
  Tokens tokens(static_cast<std::size_t>(file.document_tokens(document)));
  file.read(document, 0, vocab_size, tokens);
  return tokens;
}

Files with(Files files, std::size_t offset, const std::string& bytes) {
  files.index.replace(offset, bytes.size(), bytes);
  return files;
}

}  // namespace

TEST_CASE("the files are Megatron's, byte for byte") {
  Fixture fixture;
  const bool wide = GENERATE(false, true);
  TokenFileWriter writer(fixture.prefix, wide ? 65500 : 65499);
  writer.add_document(Tokens{1, 2, 300});
  writer.add_document(Tokens{});
  writer.add_document(Tokens{65498});
  writer.finish();

  const std::int64_t bytes = wide ? 4 : 2;
  std::string index = "MMIDIDX\0\0"s + "\x01\0\0\0\0\0\0\0"s + (wide ? "\x04" : "\x08") +
                      "\x03\0\0\0\0\0\0\0"s + "\x04\0\0\0\0\0\0\0"s;
  index += "\x03\0\0\0"s + "\0\0\0\0"s + "\x01\0\0\0"s;
  for (const std::int64_t start : {0, 3, 3}) index += little_endian(start * bytes);
  for (const std::int64_t sequence : {0, 1, 2, 3}) index += little_endian(sequence);
  CHECK(read_bytes(fixture.prefix + ".idx") == index);
  CHECK(read_bytes(fixture.prefix + ".bin") ==
        (wide ? "\x01\0\0\0\x02\0\0\0\x2C\x01\0\0\xDA\xFF\0\0"s : "\x01\0\x02\0\x2C\x01\xDA\xFF"s));
  CHECK(fixture.folder.entries() == 2);

  const TokenFile file(fixture.prefix);
  CHECK(file.prefix() == fixture.prefix);
  CHECK(file.documents() == 3);
  CHECK(file.tokens() == 4);
  CHECK(read_document(file, 0) == Tokens{1, 2, 300});
  CHECK(read_document(file, 1).empty());
  CHECK(read_document(file, 2) == Tokens{65498});
  Tokens middle(2);
  file.read(0, 1, 65499, middle);
  CHECK(middle == Tokens{2, 300});
}

TEST_CASE("many documents survive the writer's buffer") {
  Fixture fixture;
  TokenFileWriter writer(fixture.prefix, 50000);
  Tokens expected(300001);
  std::iota(expected.begin(), expected.end(), 0);
  for (auto& token : expected) token %= 50000;
  const std::span<const std::int32_t> all(expected);
  writer.add_document(all.first(7));
  writer.add_document(all.subspan(7, 299000));
  writer.add_document(all.subspan(299007));
  writer.finish();
  const TokenFile file(fixture.prefix);
  Tokens found;
  for (std::int64_t i = 0; i < 3; ++i) {
    const Tokens document = read_document(file, i);
    found.insert(found.end(), document.begin(), document.end());
  }
  CHECK(found == expected);
}

TEST_CASE("an unfinished writer leaves the old files and nothing else") {
  Fixture fixture;
  fixture.write(hand_made<std::uint16_t>(8));
  {
    TokenFileWriter writer(fixture.prefix, 100);
    writer.add_document(Tokens{1});
  }
  CHECK(fixture.folder.entries() == 2);
  CHECK(TokenFile(fixture.prefix).tokens() == 3);
  {
    TokenFileWriter writer(fixture.prefix, 100);
    writer.add_document(Tokens{1});
    writer.finish();
  }
  CHECK(TokenFile(fixture.prefix).tokens() == 1);
  CHECK_THROWS_AS(TokenFileWriter(fixture.folder.file("no/x"), 100), DataError);
}

TEST_CASE("the writer refuses tokens outside its vocabulary") {
  Fixture fixture;
  TokenFileWriter writer(fixture.prefix, 100);
  CHECK_THROWS_AS(writer.add_document(Tokens{100}), InternalError);
  CHECK_THROWS_AS(writer.add_document(Tokens{-1}), InternalError);
}

TEST_CASE("all integer types are read, and documents of several sequences") {
  Fixture fixture;
  SECTION("uint8") { fixture.write(hand_made<std::uint8_t>(1)); }
  SECTION("int8") { fixture.write(hand_made<std::int8_t>(2)); }
  SECTION("int16") { fixture.write(hand_made<std::int16_t>(3)); }
  SECTION("int32") { fixture.write(hand_made<std::int32_t>(4)); }
  SECTION("int64") { fixture.write(hand_made<std::int64_t>(5)); }
  SECTION("uint16") { fixture.write(hand_made<std::uint16_t>(8)); }
  const TokenFile file(fixture.prefix);
  CHECK(file.documents() == 2);
  CHECK(file.tokens() == 3);
  CHECK(read_document(file, 0) == Tokens{5, 6});
  CHECK(read_document(file, 1) == Tokens{7});
}

TEST_CASE("a token outside the vocabulary is named with file and offset") {
  Fixture fixture;
  const auto read = [&](std::int64_t document, int vocab_size) {
    const TokenFile file(fixture.prefix);
    return message_of<DataError>([&] { read_document(file, document, vocab_size); });
  };
  fixture.write(hand_made<std::uint16_t>(8));
  CHECK(read(1, 7) == fixture.prefix +
                          ".bin: at byte 4: token 7 in a vocabulary of 7; was the file made with "
                          "another tokenizer?");
  CHECK(read(0, 6).find(".bin: at byte 2: token 6 in a vocabulary of 6;") != std::string::npos);
  CHECK(read(1, 8) == "(nothing was thrown)");
  CHECK(read(0, -1).find("token 5 in a vocabulary of -1;") != std::string::npos);
  Files negative = hand_made<std::int32_t>(4);
  negative.content.replace(4, 4, "\xFE\xFF\xFF\xFF");
  fixture.write(negative);
  CHECK(read(0, 100).find(".bin: at byte 4: token -2 in a vocabulary of 100;") !=
        std::string::npos);
  Files huge = hand_made<std::int64_t>(5);
  huge.content.replace(0, 8, "\x05\0\0\0\x01\0\0\0"s);  // 2^32 + 5 must not pass as 5
  fixture.write(huge);
  CHECK(read(0, 100).find(".bin: at byte 0: token 4294967301 in a") != std::string::npos);
}

TEST_CASE("damaged files are refused with file and offset") {
  const Fixture fixture;
  const Files good = hand_made<std::uint16_t>(8);
  CHECK(fixture.refusal() == "cannot open x.idx: No such file or directory");
  CHECK(fixture.refusal(good) == "(nothing was thrown)");
  CHECK(fixture.refusal({"", ""}) ==
        "x.idx: at byte 0: the file ends within its header of 34 bytes");
  CHECK(fixture.refusal({good.index.substr(0, 33), good.content}) ==
        "x.idx: at byte 33: the file ends within its header of 34 bytes");
  CHECK(fixture.refusal(with(good, 0, "X")) ==
        "x.idx: at byte 0: not a Megatron token index (magic MMIDIDX expected)");
  CHECK(fixture.refusal(with(good, 9, "\x02")) ==
        "x.idx: at byte 9: version 2; this program reads version 1");
  CHECK(fixture.refusal(with(good, 17, "\x06")) ==
        "x.idx: at byte 17: dtype code 6 holds no tokens (known: 1 uint8, 2 int8, 3 int16, "
        "4 int32, 5 int64, 8 uint16)");
  CHECK(fixture.refusal(with(good, 25, "\xFF")) ==
        "x.idx: at byte 18: lists 18374686479671623683 sequences, the file's 94 bytes hold at most "
        "5; "
        "it is truncated or damaged");
  // Room for their lengths, but not for their offsets.
  CHECK(
      fixture.refusal(with(good, 18, "\x0A")) ==
      "x.idx: at byte 18: lists 10 sequences, the file's 94 bytes hold at most 5; it is truncated "
      "or damaged");
  const Files no_documents{good.index.substr(0, 18) + std::string(16, '\0'), ""};
  CHECK(fixture.refusal(no_documents) ==
        "x.idx: at byte 26: lists 0 document entries, the file's 34 bytes hold 1 to 0; it is "
        "truncated or damaged");
  CHECK(fixture.refusal({good.index.substr(0, 93), good.content}) ==
        "x.idx: at byte 26: lists 3 document entries, the file's 93 bytes hold 1 to 2; it is "
        "truncated or damaged");
  CHECK(fixture.refusal({good.index + "abc", good.content}) ==
        "x.idx: at byte 94: the index should end here, the file has 3 bytes more (indices with "
        "modes of multimodal data are not read)");
  CHECK(fixture.refusal(with(good, 37, "\x80")) ==
        "x.idx: at byte 34: sequence 0 has -2147483646 tokens");
  CHECK(
      fixture.refusal(with(good, 54, "\x05")) ==
      "x.idx: at byte 54: sequence 1 starts at byte 5 of the tokens; the lengths before it say 4");
  CHECK(fixture.refusal(with(good, 70, "\x01")) ==
        "x.idx: at byte 70: the first document starts with sequence 1 instead of 0");
  CHECK(fixture.refusal(with(good, 78, "\x04")) ==
        "x.idx: at byte 78: document 0 ends before sequence 4, not between 0 and 3");
  Files backwards = with(good, 26, "\x04");
  backwards.index.insert(86, little_endian<std::int64_t>(1));
  CHECK(fixture.refusal(backwards) ==
        "x.idx: at byte 86: document 1 ends before sequence 1, not between 2 and 3");
  CHECK(fixture.refusal(with(good, 86, "\x02")) ==
        "x.idx: at byte 86: the documents end before sequence 2, the file has 3");
  CHECK(fixture.refusal({good.index, good.content.substr(0, 5)}) ==
        "x.bin: at byte 5: the file ends; its index lists 6 bytes of tokens, so it is truncated or "
        "belongs to another index");
  CHECK(fixture.refusal({good.index, good.content + "a"}) ==
        "x.bin: at byte 6: the tokens should end here, the file has 1 bytes more, so it belongs to "
        "another index");
  std::filesystem::remove(fixture.prefix + ".bin");
  CHECK(fixture.refusal() == "cannot open x.bin: No such file or directory");
}

TEST_CASE("no truncation and no flipped bit ahead of the document array passes") {
  const Fixture fixture;
  const Files good = hand_made<std::int32_t>(4);
  for (std::size_t size = 0; size < good.index.size(); ++size)
    CHECK(fixture.refusal({good.index.substr(0, size), good.content}).find("x.idx: at byte ") == 0);
  for (std::size_t size = 0; size < good.content.size(); ++size)
    CHECK(fixture.refusal({good.index, good.content.substr(0, size)}).find("x.bin: at byte ") == 0);
  for (std::size_t byte = 0; byte < 70; ++byte)
    for (int bit = 0; bit < 8; ++bit) {
      Files files = good;
      files.index[byte] = static_cast<char>(files.index[byte] ^ 1 << bit);
      CAPTURE(byte, bit);
      CHECK(fixture.refusal(files).find(": at byte ") != std::string::npos);
    }
}
