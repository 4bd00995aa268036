#include "core/data/corpus.h"

#include <algorithm>
#include <future>
#include <vector>

namespace seq1f1b::data {
namespace {

// Of text per thread, encoded and written before the next batch is read, so that memory stays
// bounded.
constexpr std::size_t kBatchBytes = std::size_t{1} << 20;

using Documents = std::vector<std::string_view>;
using Tokens = std::vector<std::int32_t>;

// Documents of at least `least_bytes` in sum (fewer at the end of the text).
Documents read_batch(DocumentReader& reader, std::size_t least_bytes, CorpusCounts& counts) {
  Documents documents;
  std::size_t bytes = 0;
  std::string_view document;
  while (bytes < least_bytes && reader.next(document)) {
    if (document.empty()) {
      ++counts.empty_documents;
      continue;
    }
    documents.push_back(document);
    bytes += document.size();
  }
  return documents;
}

std::vector<Tokens> encode_documents(const Documents& documents, const Tokenizer& tokenizer) {
  std::vector<Tokens> encoded;
  encoded.reserve(documents.size());
  for (const std::string_view document : documents) {
    encoded.push_back(tokenizer.encode(document));
    encoded.back().push_back(tokenizer.end_of_document());
  }
  return encoded;
}

}  // namespace

bool DocumentReader::next(std::string_view& document) {
  if (rest_.empty()) return false;
  const std::size_t end = rest_.find(separator_);
  document = rest_.substr(0, end);
  rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + separator_.size());
  return true;
}

CorpusCounts encode_corpus(std::string_view text, std::string_view separator,
                           const Tokenizer& tokenizer, int threads, TokenFileWriter& writer) {
  CorpusCounts counts;
  DocumentReader reader(text, separator);
  while (!reader.rest().empty()) {
    std::vector<std::future<std::vector<Tokens>>> workers;
    for (int thread = 0; thread < std::max(threads, 1) && !reader.rest().empty(); ++thread) {
      Documents documents = read_batch(reader, kBatchBytes, counts);
      for (const std::string_view document : documents)
        counts.bytes += static_cast<std::int64_t>(document.size() + separator.size());
      counts.documents += static_cast<std::int64_t>(documents.size());
      workers.push_back(
          std::async(std::launch::async, [&tokenizer, documents = std::move(documents)] {
            return encode_documents(documents, tokenizer);
          }));
    }
    for (auto& worker : workers)
      for (const Tokens& document : worker.get()) {
        writer.add_document(document);
        counts.tokens += static_cast<std::int64_t>(document.size());
      }
  }
  return counts;
}

}  // namespace seq1f1b::data
