#include "core/data/tokenizer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <nlohmann/json.hpp>
#include <random>

#include "core/data/base64.h"
#include "core/data/utf8.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/data/sample_text.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::data;
using namespace seq1f1b::testing;

namespace {

void check_round_trip(const Tokenizer& tokenizer, const std::string& text) {
  const auto tokens = tokenizer.encode(text);
  std::size_t bytes = 0;
  for (const std::int32_t token : tokens) {
    REQUIRE(token >= 0);
    REQUIRE(token < tokenizer.vocab_size());
    REQUIRE(token != tokenizer.end_of_document());
    bytes += static_cast<std::size_t>(tokenizer.token_bytes(token));
  }
  CAPTURE(nlohmann::json::binary({text.begin(), text.end()}).dump());
  REQUIRE(tokenizer.decode(tokens) == text);
  REQUIRE(bytes == text.size());
}

void check_all_round_trips(const Tokenizer& tokenizer) {
  for (const std::string& text : adversarial_texts()) check_round_trip(tokenizer, text);
  std::mt19937 random(11);
  for (int i = 0; i < 500; ++i) {
    check_round_trip(tokenizer, random_bytes(random));
    check_round_trip(tokenizer, random_utf8(random));
  }
  check_round_trip(tokenizer, training_text());
}

// A model as others train them, written to `path`.
void train_foreign_model(const std::string& path,
                         std::unordered_map<std::string, std::string> options) {
  TemporaryFolder folder;
  write_bytes(folder.file("text"), training_text());
  options.insert({{"input", folder.file("text")},
                  {"model_prefix", folder.file("m")},
                  {"vocab_size", "420"},
                  {"minloglevel", "2"}});
  REQUIRE(sentencepiece::SentencePieceTrainer::Train(options).ok());
  write_bytes(path, read_bytes(folder.file("m.model")));
}

std::string altered(const std::string& text, const char* field, const nlohmann::json& value) {
  auto json = nlohmann::json::parse(text);
  json[field] = value;
  return json.dump();
}

}  // namespace

TEST_CASE("bytes: every byte is its own token and 256 ends a document") {
  const auto tokenizer = make_byte_tokenizer("--\n");
  CHECK(tokenizer->name() == "bytes");
  CHECK(tokenizer->vocab_size() == 257);
  CHECK(tokenizer->end_of_document() == 256);
  CHECK(tokenizer->encode("a\xFF") == std::vector<std::int32_t>{97, 255});
  CHECK(tokenizer->decode(std::vector<std::int32_t>{97, 256, 255}) == "a--\n\xFF");
  CHECK(tokenizer->token_bytes(256) == 3);
  check_all_round_trips(*tokenizer);
}

TEST_CASE("sentencepiece: a trained model has the asked size and restores every byte string") {
  const auto tokenizer = train_sentencepiece(training_text(), 400, "\n");
  CHECK(tokenizer->name() == "sentencepiece");
  CHECK(tokenizer->vocab_size() == 400);
  CHECK(tokenizer->token_bytes(tokenizer->end_of_document()) == 1);
  CHECK(tokenizer->decode(std::vector<std::int32_t>{tokenizer->end_of_document()}) == "\n");
  check_all_round_trips(*tokenizer);
  // It compresses what it was trained on: the words are pieces.
  CHECK(tokenizer->encode(training_text()).size() < training_text().size() / 3);
}

TEST_CASE("sentencepiece: cutting text into runs changes no token") {
  const auto tokenizer = train_sentencepiece(training_text(), 400, "\n");
  std::string model =
      base64_decode(nlohmann::json::parse(tokenizer->to_json())["model"].get<std::string>())
          .value();
  sentencepiece::SentencePieceProcessor whole;
  REQUIRE(whole.LoadFromSerializedProto(model).ok());
  std::string text;
  for (const char byte : training_text().substr(0, 8000)) text += byte == '\n' ? ' ' : byte;
  std::vector<int> expected;
  REQUIRE(whole.Encode(text, &expected).ok());
  CHECK(tokenizer->encode(text) == std::vector<std::int32_t>(expected.begin(), expected.end()));
}

TEST_CASE("sentencepiece: training twice, on any number of threads, gives the same file") {
  const auto once = train_sentencepiece(training_text(), 350, "\n", 1);
  const auto again = train_sentencepiece(training_text(), 350, "\n", 2);
  // The number of threads is written into the model; the tokens must not depend on it.
  CHECK(once->encode(training_text()) == again->encode(training_text()));
  CHECK(again->to_json() == train_sentencepiece(training_text(), 350, "\n", 2)->to_json());
}

TEST_CASE("sentencepiece: newlines inside documents are kept and learned from") {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "first line,\nsecond line.\n\n";
  const auto tokenizer = train_sentencepiece(text, 280, "\n\n");
  check_round_trip(*tokenizer, text);
  CHECK(tokenizer->decode(std::vector<std::int32_t>{tokenizer->end_of_document()}) == "\n\n");
}

TEST_CASE("sentencepiece: what cannot be trained is said in our words") {
  const auto train = [](const std::string& text, int vocab_size) {
    return message_of<DataError>([&] { train_sentencepiece(text, vocab_size, "\n"); });
  };
  CHECK(train("hello world\n", 8192) ==
        "a vocabulary of 8192 is too large for this text, which yields at most 284 tokens");
  CHECK(train("hello world\n", 100) ==
        "a vocabulary of 100 is too small for this text, which needs at least 266 tokens: "
        "256 bytes, 2 marks and its frequent characters");
  CHECK(train("\n\n\n", 300) ==
        "sentencepiece cannot be trained: there is no UTF-8 text in the input");
  CHECK(train("\xFF\xFE\x80", 300) ==
        "sentencepiece cannot be trained: there is no UTF-8 text in the input");
}

TEST_CASE("a given model keeps its vocabulary and becomes lossless") {
  TemporaryFolder folder;
  const std::string path = folder.file("given.model");
  SECTION("with its own end of document, normalisation and dummy prefix") {
    train_foreign_model(path, {{"model_type", "bpe"}, {"byte_fallback", "true"}});
    const auto tokenizer = load_sentencepiece(path, "\n");
    CHECK(tokenizer->vocab_size() == 420);
    CHECK(tokenizer->end_of_document() == 2);  // sentencepiece's default </s>
    check_all_round_trips(*tokenizer);
  }
  SECTION("without one, it gets ours behind the last piece") {
    train_foreign_model(path, {{"model_type", "bpe"}, {"byte_fallback", "true"}, {"eos_id", "-1"}});
    const auto tokenizer = load_sentencepiece(path, "\n");
    CHECK(tokenizer->vocab_size() == 421);
    CHECK(tokenizer->end_of_document() == 420);
    check_all_round_trips(*tokenizer);
  }
  SECTION("a unigram model, with symbols of its own and spaces at the end of pieces") {
    train_foreign_model(path, {{"model_type", "unigram"},
                               {"byte_fallback", "true"},
                               {"hard_vocab_limit", "false"},
                               {"user_defined_symbols", "<sep>,\xE2\x96\x81,harb"},
                               {"treat_whitespace_as_suffix", "true"}});
    check_all_round_trips(*load_sentencepiece(path, "\n"));
  }
}

TEST_CASE("a model that could lose bytes, or is none, is refused") {
  TemporaryFolder folder;
  const std::string path = folder.file("given.model");
  const auto load = [&] { return message_of<DataError>([&] { load_sentencepiece(path, "\n"); }); };
  CHECK(load() == "cannot open " + path + ": No such file or directory");
  write_bytes(path, "no model at all");
  CHECK(load().find(path + ": is not a sentencepiece model: ") == 0);
  write_bytes(path, "");
  CHECK(load().find(path + ": is not a sentencepiece model: ") == 0);
  train_foreign_model(path, {{"model_type", "bpe"}, {"vocab_size", "120"}});
  CHECK(load() == path +
                      ": the sentencepiece model has no pieces for single bytes, so some texts "
                      "could not be restored; train it with --byte_fallback=true");
}

TEST_CASE("a tokenizer file gives the same tokenizer again") {
  TemporaryFolder folder;
  const std::string path = folder.file("x.tokenizer.json");
  const auto check_same = [&](const Tokenizer& tokenizer) {
    write_bytes(path, tokenizer.to_json());
    const auto again = load_tokenizer(path);
    CHECK(again->name() == tokenizer.name());
    CHECK(again->vocab_size() == tokenizer.vocab_size());
    CHECK(again->end_of_document() == tokenizer.end_of_document());
    CHECK(again->encode(training_text()) == tokenizer.encode(training_text()));
    CHECK(again->to_json() == tokenizer.to_json());
  };
  check_same(*make_byte_tokenizer("\n"));
  check_same(*make_byte_tokenizer("\n\n\t\"é"));
  check_same(*train_sentencepiece(training_text(), 400, "\n"));
}

TEST_CASE("a damaged tokenizer file is refused") {
  const std::string good = train_sentencepiece(training_text(), 400, "\n")->to_json();
  const auto load = [](const std::string& json) {
    return message_of<DataError>([&] { tokenizer_from_json(json, "x.json"); });
  };
  // Every prefix that lacks at least the closing brace.
  for (std::size_t size = 0; size + 2 < good.size(); size += 997)
    CHECK(load(good.substr(0, size)).find("x.json: is not a tokenizer file: ") == 0);
  CHECK(load("[1, 2]") ==
        "x.json: is not a tokenizer file: a field is missing or of another type; "
        "copy it again from where it came from, or prepare the text again");
  CHECK(load("").find("x.json: is not a tokenizer file: the file is empty; ") == 0);
  CHECK(load("{\"a\": 1").find(": the file ends in the middle, after 7 bytes; ") !=
        std::string::npos);
  CHECK(load("{\"a\"; 1}").find(": it is not JSON from byte 5 of 8 on; ") != std::string::npos);
  CHECK(load(altered(good, "format", "other")) == "x.json: is not a tokenizer file");
  CHECK(load(altered(good, "version", 2)) ==
        "x.json: tokenizer file of version 2; this program reads version 1");
  CHECK(load(altered(good, "kind", "words")) ==
        "x.json: unknown kind of tokenizer 'words'; this program knows bytes and sentencepiece");
  CHECK(load(altered(good, "vocab_size", 401)) ==
        "x.json: the model has 400 tokens and ends documents with 1, the file says 401 and 1; "
        "the file is damaged");
  CHECK(load(altered(good, "end_of_document", 2)) ==
        "x.json: the model has 400 tokens and ends documents with 1, the file says 400 and 2; "
        "the file is damaged");
  CHECK(load(altered(good, "model", "abc")) ==
        "x.json: the field 'model' is not base64; the file is damaged");
  CHECK(load(altered(good, "model", "AAAA")).find("x.json: is not a sentencepiece model") == 0);
  CHECK(load(altered(good, "document_separator", "")) == "x.json: the document separator is empty");
}

TEST_CASE("tokens outside the vocabulary and unusable separators are refused") {
  const auto tokenizer = make_byte_tokenizer();
  CHECK(message_of<DataError>([&] {
          tokenizer->decode(std::vector<std::int32_t>{1, 257});
        }) == "token 257 is outside the tokenizer's vocabulary of 257");
  CHECK_THROWS_AS(tokenizer->token_bytes(-1), DataError);
  CHECK_THROWS_AS(make_byte_tokenizer(""), ConfigError);
  CHECK_THROWS_AS(make_byte_tokenizer("\xFF"), ConfigError);
}

TEST_CASE("well-formed UTF-8 is table 3-7 of Unicode") {
  for (const char* good :
       {"\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
        "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    const std::string_view text = good;
    CAPTURE(base64_encode(text));
    CHECK(utf8_length(text) == text.size());
    CHECK(utf8_length(text.substr(0, text.size() - 1)) == 0);
  }
  // Stray, overlong, surrogates, above U+10FFFF, a byte that continues nothing.
  for (const char* bad : {"\x80", "\xC1\xBF", "\xC2\x7F", "\xC2\xC0", "\xE0\x9F\xBF",
                          "\xE1\x80\x7F", "\xE1\x80\xC0", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
                          "\xF1\x80\x80\xC0", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80"}) {
    CAPTURE(base64_encode(bad));
    CHECK(utf8_length(bad) == 0);
  }
}

TEST_CASE("base64 follows RFC 4648") {
  // The vectors of its section 10.
  const std::vector<std::pair<std::string, std::string>> vectors{{"", ""},
                                                                 {"f", "Zg=="},
                                                                 {"fo", "Zm8="},
                                                                 {"foo", "Zm9v"},
                                                                 {"foob", "Zm9vYg=="},
                                                                 {"fooba", "Zm9vYmE="},
                                                                 {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : vectors) {
    CHECK(base64_encode(bytes) == text);
    CHECK(base64_decode(text) == bytes);
  }
  std::mt19937 random(3);
  for (int i = 0; i < 200; ++i) {
    const std::string bytes = random_bytes(random);
    CHECK(base64_decode(base64_encode(bytes)) == bytes);
  }
  for (const char* wrong : {"Z", "Zg=", "Zg===", "====", "Z===", "Zm9*", "Zg==Zg==", "Zm 9v"})
    CHECK_FALSE(base64_decode(wrong).has_value());
}
