#include "core/checkpoint/safetensors.h"

#include <cstring>

#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::checkpoint;
using namespace seq1f1b::testing;
using kernels::Dtype;

namespace {

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

// A file with `header` as it is and `data_bytes` bytes of data.
std::string assembled(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
  return bytes + header + std::string(data_bytes, 'd');
}

}  // namespace

TEST_CASE("Checksums are XXH3-64") {
  CHECK(text_checksum("") == "2d06800538d394c2");  // of xxHash's own test vectors
  Checksum piecewise;
  piecewise.update(std::as_bytes(std::span("ab", 2)));
  piecewise.update(std::as_bytes(std::span("c", 1)));
  CHECK(piecewise.hex() == text_checksum("abc"));
  const TemporaryFolder folder;
  write_bytes(folder.file("f"), std::string(100000, 'x'));
  CHECK(file_checksum(folder.file("f")) == text_checksum(std::string(100000, 'x')));
}

TEST_CASE("A written file is the format to the byte, and the same for any order of its tensors") {
  const TemporaryFolder folder;
  const std::vector<float> b{1.0f, -2.0f};
  const std::vector<double> z{0.5};
  const std::vector<std::int32_t> a{7};
  const std::vector<std::uint16_t> h{0x3f80, 0x4000, 0x4040};
  std::vector<StoredTensor> tensors{{"b", Dtype::kF32, {2, 1}, bytes_of(b)},
                                    {"h", Dtype::kBf16, {3}, bytes_of(h)},
                                    {"z", Dtype::kF64, {}, bytes_of(z)},
                                    {"a", Dtype::kI32, {1}, bytes_of(a)},
                                    {"e", Dtype::kF32, {0, 5}, {}}};
  const std::string path = folder.file("x.safetensors");
  const WrittenFile written = write_safetensors(path, tensors, {{"format", "test"}});
  std::string header = R"({"__metadata__":{"format":"test"},)"
                       R"("z":{"dtype":"F64","shape":[],"data_offsets":[0,8]},)"
                       R"("a":{"dtype":"I32","shape":[1],"data_offsets":[8,12]},)"
                       R"("b":{"dtype":"F32","shape":[2,1],"data_offsets":[12,20]},)"
                       R"("e":{"dtype":"F32","shape":[0,5],"data_offsets":[20,20]},)"
                       R"("h":{"dtype":"BF16","shape":[3],"data_offsets":[20,26]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string data;
  for (const auto& bytes : {bytes_of(z), bytes_of(a), bytes_of(b), bytes_of(h)})
    data.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string expected = assembled(header, 0) + data;
  CHECK(read_bytes(path) == expected);
  CHECK(written.file.name == "x.safetensors");
  CHECK(written.file.bytes == expected.size());
  CHECK(written.file.checksum == text_checksum(expected));
  // Each tensor lies where its record says, in the order given, with the checksum of its bytes.
  REQUIRE(written.tensors.size() == tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::string bytes = expected.substr(written.tensors[i].begin, tensors[i].data.size());
    CHECK(std::memcmp(bytes.data(), tensors[i].data.data(), bytes.size()) == 0);
    CHECK(written.tensors[i].checksum == text_checksum(bytes));
  }

  std::reverse(tensors.begin(), tensors.end());
  write_safetensors(path, tensors, {{"format", "test"}});
  CHECK(read_bytes(path) == expected);

  const SafetensorsFile file(path);
  REQUIRE(file.tensors().size() == 5);
  CHECK(file.tensors()[0].name == "z");
  CHECK(file.metadata() == std::map<std::string, std::string>{{"format", "test"}});
  const StoredTensor& read = file.find("b");
  CHECK(file.begin(read) == written.tensors.front().begin);
  CHECK(read.dtype == Dtype::kF32);
  CHECK(read.shape == std::vector<std::int64_t>{2, 1});
  REQUIRE(read.data.size() == 8);
  CHECK(std::memcmp(read.data.data(), b.data(), 8) == 0);
  CHECK(file.find("e").data.empty());
  CHECK(message_of<DataError>([&] { file.find("c"); }) == path + ": no tensor named c");
}

TEST_CASE("More than one slice of data arrives in one piece") {
  const TemporaryFolder folder;
  std::vector<std::int32_t> values((std::size_t{9} << 20) / 4 + 1);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int32_t>(i * 7919);
  const std::string path = folder.file("large.safetensors");
  const auto written = write_safetensors(
      path,
      std::vector<StoredTensor>{
          {"t", Dtype::kI32, {static_cast<std::int64_t>(values.size())}, bytes_of(values)}},
      {});
  CHECK(written.file.checksum == file_checksum(path));
  CHECK(written.tensors.front().checksum ==
        text_checksum({reinterpret_cast<const char*>(values.data()), values.size() * 4}));
  const SafetensorsFile file(path);
  CHECK(std::memcmp(file.find("t").data.data(), values.data(), values.size() * 4) == 0);
}

TEST_CASE("A file without tensors is a file") {
  const TemporaryFolder folder;
  const std::string path = folder.file("empty.safetensors");
  write_safetensors(path, {}, {});
  CHECK(read_bytes(path) == assembled("{}      ", 0));
  CHECK(SafetensorsFile(path).tensors().empty());
}

TEST_CASE("Tensors that contradict themselves are not written") {
  const TemporaryFolder folder;
  const std::vector<float> one{1.0f};
  const auto write = [&](const std::vector<StoredTensor>& tensors) {
    write_safetensors(folder.file("f"), tensors, {});
  };
  CHECK_THROWS_AS(write({{"a", Dtype::kF32, {2}, bytes_of(one)}}), InternalError);
  CHECK_THROWS_AS(write({{"a", Dtype::kF32, {-1}, bytes_of(one)}}), InternalError);
  CHECK_THROWS_AS(write({{"__metadata__", Dtype::kF32, {1}, bytes_of(one)}}), InternalError);
  CHECK_THROWS_AS(
      write({{"a", Dtype::kF32, {1}, bytes_of(one)}, {"a", Dtype::kI32, {1}, bytes_of(one)}}),
      InternalError);
  CHECK_FALSE(std::filesystem::exists(folder.file("f")));
}

TEST_CASE("What the disk has no room for is not begun") {
  const TemporaryFolder folder;
  const std::string path = folder.file("f");
  // Nobody looks at the data: there is not as much.
  const std::byte first{};
  const StoredTensor huge{
      "huge", kernels::Dtype::kF32, {std::int64_t{1} << 58}, {&first, std::size_t{1} << 60}};
  CHECK(message_of<DataError>([&] {
          write_safetensors(path, {&huge, 1}, {});
        }).find("disk too full for " + folder.path()) == 0);
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("Every rule of the format is enforced with the place of the fault") {
  const TemporaryFolder folder;
  const std::string path = folder.file("f");
  const auto refusal = [&](const std::string& bytes) {
    write_bytes(path, bytes);
    const std::string message = message_of<DataError>([&] { SafetensorsFile file(path); });
    return message.starts_with(path + ": byte ") ? message.substr(path.size() + 7) : message;
  };
  const auto header_refusal = [&](const std::string& header, std::size_t data_bytes = 8) {
    return refusal(assembled(header, data_bytes));
  };
  const auto tensor = [](const std::string& fields) { return R"({"t":{)" + fields + "}}"; };

  SECTION("length of the header") {
    CHECK(refusal("") == "0: file ends within the header length (0 bytes)");
    CHECK(refusal("1234567") == "7: file ends within the header length (7 bytes)");
    CHECK(refusal(std::string("\x03\0\0\0\0\0\0\0{}", 10)) ==
          "0: header length 3 exceeds the file (10 bytes)");
    CHECK(refusal(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10)) ==
          "0: header length 18446744073709551615 exceeds the format's limit of 100000000");
  }
  SECTION("text of the header") {
    CHECK(header_refusal("") == "8: header does not begin with '{'");
    CHECK(header_refusal(" {}") == "8: header does not begin with '{'");
    CHECK(header_refusal("{}\n", 0) == "10: header does not end with '}' and spaces");
    CHECK(header_refusal("{\"a\" 1}") == "13: header is not valid JSON");
    CHECK(header_refusal("{\"\xff\":1}") == "10: header is not valid JSON");
    CHECK(header_refusal("{\"a\":1e999}") == "8: header holds a number beyond double precision");
    CHECK(header_refusal("{} {}") == "11: header is not valid JSON");
    CHECK(header_refusal(R"({"a":{},"a":{}})") == "16: \"a\": key given twice");
    CHECK(header_refusal(tensor(R"("dtype":"F32","dtype":"F32","shape":[2])")) ==
          "28: \"dtype\": key given twice");
  }
  SECTION("metadata") {
    CHECK(header_refusal(R"({"__metadata__":[]})", 0) == "9: \"__metadata__\": not an object");
    CHECK(header_refusal(R"({"__metadata__":{"a":1}})", 0) ==
          "25: \"a\": metadata is not a string");
  }
  SECTION("fields of a tensor") {
    const std::string fields = "9: \"t\": needs exactly dtype, shape and data_offsets";
    CHECK(header_refusal(R"({"t":1})") == fields);
    CHECK(header_refusal(tensor(R"("dtype":"F32","shape":[2])")) == fields);
    CHECK(header_refusal(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1)")) ==
          fields);
    CHECK(header_refusal(tensor(R"("dtype":32,"shape":[2],"data_offsets":[0,8])")) ==
          "9: \"t\": dtype is not a string");
    CHECK(header_refusal(tensor(R"("dtype":"F16","shape":[4],"data_offsets":[0,8])")) ==
          "9: \"t\": dtype F16 is not known here (F64, F32, BF16, I32 are)");
    CHECK(header_refusal(tensor(R"("dtype":"F32","shape":2,"data_offsets":[0,8])")) ==
          "9: \"t\": shape is not a list");
    CHECK(header_refusal(tensor(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])")) ==
          "9: \"t\": shape holds -2, not a natural number");
    CHECK(header_refusal(tensor(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])")) ==
          "9: \"t\": shape holds 2.0, not a natural number");
    CHECK(header_refusal(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,4,8])")) ==
          "9: \"t\": data_offsets is not a pair");
  }
  SECTION("place of a tensor") {
    CHECK(header_refusal(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])")) ==
          "9: \"t\": data_offsets [8,0] lie outside the 8 bytes of data");
    CHECK(header_refusal(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"), 7) ==
          "9: \"t\": data_offsets [0,8] lie outside the 7 bytes of data");
    CHECK(header_refusal(tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])")) ==
          "9: \"t\": shape needs 12 bytes, data_offsets span 8");
    CHECK(header_refusal(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])")) ==
          "9: \"t\": shape needs 4 bytes, data_offsets span 8");
    // One more than an index can be, in a tensor of no bytes.
    CHECK(header_refusal(
              tensor(R"("dtype":"F32","shape":[0,9223372036854775808],"data_offsets":[0,0])"), 0) ==
          "9: \"t\": shape holds 9223372036854775808, not a natural number");
    // 2^62 * 2^2 * 4 bytes wraps to zero.
    CHECK(header_refusal(
              tensor(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0])"), 0) ==
          "9: \"t\": shape is too large");
  }
  SECTION("coverage of the data") {
    const auto two = [&](const std::string& first, const std::string& second) {
      return R"({"a":{"dtype":"F32","shape":[1],"data_offsets":)" + first +
             R"(},"b":{"dtype":"F32","shape":[1],"data_offsets":)" + second + "}}";
    };
    const std::size_t start = 8 + two("[0,4]", "[4,8]").size();
    const auto at = [&](std::size_t offset) { return std::to_string(start + offset); };
    CHECK(header_refusal(two("[0,4]", "[4,8]"), 9) == at(8) + ": 1 bytes after the last tensor");
    CHECK(header_refusal(two("[0,4]", "[2,6]"), 6) ==
          at(2) + ": overlap with tensor \"b\", which begins at byte " + at(2));
    CHECK(header_refusal(two("[0,4]", "[5,9]"), 9) ==
          at(4) + ": hole before tensor \"b\", which begins at byte " + at(5));
    CHECK(header_refusal("{}", 3) == "10: 3 bytes after the last tensor");
  }
}

TEST_CASE("Header padding is optional and the data need not be aligned") {
  const TemporaryFolder folder;
  const std::string path = folder.file("f");
  write_bytes(path, assembled(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4));
  CHECK(SafetensorsFile(path).find("t").data.size() == 4);
}
