#include "apps/input_text.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/base/files.h"
#include "kernels/common/errors.h"

namespace seq1f1b::apps {
namespace {

using namespace std::string_view_literals;

struct Kind {
  std::string_view begin;   // first bytes
  std::string_view ending;  // of the name
  const char* name;
  const char* advice;
};
// Magic numbers: gzip RFC 1952, zstd RFC 8878, xz and lz4 file format, bzip2, zip, Apache Parquet.
constexpr std::array<Kind, 9> kNoText{{
    {"\x1F\x8B"sv, ".gz"sv, "compressed with gzip", "zcat"},
    {"\x28\xB5\x2F\xFD"sv, ".zst"sv, "compressed with zstd", "zstdcat"},
    {"\xFD"
     "7zXZ\0"sv,
     ".xz"sv, "compressed with xz", "xzcat"},
    {"\x04\x22\x4D\x18"sv, ".lz4"sv, "compressed with lz4", "lz4cat"},
    {"BZh91AY&SY"sv, ".bz2"sv, "compressed with bzip2", "bzcat"},
    {"PK\x03\x04"sv, ".zip"sv, "a zip archive", "unzip -p"},
    {"PAR1"sv, ".parquet"sv, "a Parquet file", nullptr},
    {""sv, ".jsonl"sv, "JSON lines", nullptr},
    {""sv, ".ndjson"sv, "JSON lines", nullptr},
}};

// In no text that people mean: a binary file has them, an archive, UTF-16 without its mark.
constexpr char kNul = '\0';
constexpr std::string_view kMark = "\xEF\xBB\xBF";
// No line of JSON is longer.
constexpr std::size_t kLongestJson = std::size_t{64} << 20;

bool is_json_lines(std::string_view text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  return line.starts_with('{') && line.size() <= kLongestJson && nlohmann::json::accept(line);
}

[[noreturn]] void refuse(const std::string& path, const std::string& what,
                         const std::string& advice) {
  throw DataError(concat(path, ": is ", what, ", not plain text: ", advice,
                         ", or --as-text to take its bytes as they are"));
}

void require_plain(const std::string& path, std::string_view text) {
  const std::string extract =
      "JSON is not read yet; write the documents' text into a file (jq -r .text, with "
      "--document-separator where they have several lines)";
  for (const Kind& kind : kNoText) {
    const bool begins = !kind.begin.empty() && text.starts_with(kind.begin);
    if (!begins && !path.ends_with(kind.ending)) continue;
    if (kind.advice != nullptr)
      refuse(path, kind.name,
             concat("unpack it first (", kind.advice, " ", path, " | seq1f1b prepare /dev/stdin)"));
    refuse(path, kind.name, kind.begin.empty() ? extract : "write its text into a file first");
  }
  if (is_json_lines(text)) refuse(path, "JSON lines", extract);
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF"))
    refuse(path, "UTF-16 by its byte order mark", "convert it first (iconv -f UTF-16 -t UTF-8)");
  if (const std::size_t nul = text.find(kNul); nul != std::string_view::npos)
    throw DataError(concat(path, ": holds a NUL byte, at offset ", nul,
                           ", so it is not plain text but UTF-16, an archive or another binary "
                           "file: convert it first (for UTF-16, iconv -f UTF-16LE -t UTF-8), or "
                           "--as-text to take its bytes as they are"));
}

}  // namespace

InputText::InputText(const PrepareArguments& arguments) {
  const std::string& path = arguments.input;
  std::error_code ignored;  // a path that cannot be examined is reported when it is opened
  if (std::filesystem::is_regular_file(path, ignored)) {
    const auto bytes = file_.emplace(path).bytes();
    text_ = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  } else {
    // A device may have no end.
    copy_ = base::read_file(path, [&](std::string_view block) {
      return arguments.as_text || block.find(kNul) == std::string_view::npos;
    });
    text_ = copy_;
  }
  if (!arguments.as_text) {
    require_plain(path, text_);
    leave_out_mark();
  }
  if (text_.empty()) throw DataError(concat(path, ": the input is empty"));
  settle_line_ends(arguments);
}

void InputText::leave_out_mark() {
  if (!text_.starts_with(kMark)) return;
  text_.remove_prefix(kMark.size());
  note("the byte order mark at the start left out");
}

void InputText::settle_line_ends(const PrepareArguments& arguments) {
  if (arguments.line_endings == "keep") return;
  const bool replace = arguments.line_endings == "lf";
  // Who splits at a carriage return knows of them.
  if (!replace && arguments.document_separator.find('\r') != std::string::npos) return;
  const std::size_t first = text_.find("\r\n");
  if (first == std::string_view::npos) return;
  std::string lines(replace ? text_.substr(0, first) : "");
  std::size_t count = 0;
  for (std::size_t at = first; at < text_.size(); ++count) {
    const std::size_t next = std::min(text_.find("\r\n", at + 2), text_.size());
    if (replace) lines.append(text_.substr(at + 1, next - at - 1));
    at = next;
  }
  if (!replace)
    throw ConfigError(
        concat(arguments.input, ": ", count, " of ", std::ranges::count(text_, '\n'),
               " lines end with CRLF, as on Windows: --line-endings lf makes that a line feed, "
               "--line-endings keep takes the text as it is"));
  copy_ = std::move(lines);
  text_ = copy_;
  file_.reset();
  note(concat(count, " CRLF made LF"));
}

void InputText::note(const std::string& what) { notes_ += (notes_.empty() ? "" : ", ") + what; }

}  // namespace seq1f1b::apps
