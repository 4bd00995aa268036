#pragma once
// From one text to the documents of a token file.
#include <cstdint>
#include <string_view>

#include "core/data/token_file.h"
#include "core/data/tokenizer.h"

namespace seq1f1b::data {

// The documents of a text: what lies between separators. A separator at the very end closes the
// last document and opens none.
class DocumentReader {
 public:
  DocumentReader(std::string_view text, std::string_view separator)
      : rest_(text), separator_(separator) {}
  // False when there is no further document. Documents may be empty.
  bool next(std::string_view& document);
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
  std::string_view separator_;
};

struct CorpusCounts {
  std::int64_t documents = 0;        // written
  std::int64_t empty_documents = 0;  // left out
  std::int64_t tokens = 0;           // ends of documents included
  std::int64_t bytes = 0;            // of text these stand for, one separator per document included
};

// Encodes every document that is not empty, ends it with the end-of-document token and adds it to
// `writer`, in the order of the text. An empty document would be a lone end-of-document token after
// a shuffle, which teaches nothing. Memory beyond `text` does not grow with it. The result does not
// depend on `threads`.
CorpusCounts encode_corpus(std::string_view text, std::string_view separator,
                           const Tokenizer& tokenizer, int threads, TokenFileWriter& writer);

}  // namespace seq1f1b::data
