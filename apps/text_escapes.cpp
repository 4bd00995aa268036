#include "apps/text_escapes.h"

#include "kernels/common/errors.h"

namespace seq1f1b::apps {

std::string replace_escapes(const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      result += text[i];
      continue;
    }
    const char escaped = i + 1 < text.size() ? text[++i] : '\0';
    switch (escaped) {
      case 'n':
        result += '\n';
        break;
      case 't':
        result += '\t';
        break;
      case 'r':
        result += '\r';
        break;
      case '\\':
        result += '\\';
        break;
      default:
        throw ConfigError(concat("command line: unknown escape in '", text,
                                 "': only \\n, \\t, \\r and \\\\ are known"));
    }
  }
  return result;
}

}  // namespace seq1f1b::apps
