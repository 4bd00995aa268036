#include "core/comm/group.h"

#include <algorithm>

namespace seq1f1b::comm {

void Group::broadcast(std::string& text, int root, const Describe& what) {
  std::size_t length = text.size();
  broadcast(length, root, what);
  text.resize(length);
  broadcast(std::span(text), root, what);
}

void Group::all_reduce_sum(std::span<double> values, const Describe& what) {
  std::vector<double> all(values.size() * static_cast<std::size_t>(size()));
  std::vector<std::span<std::byte>> from;
  for (std::size_t first = 0; from.size() < static_cast<std::size_t>(size());
       first += values.size())
    from.push_back(std::as_writable_bytes(std::span(all).subspan(first, values.size())));
  exchange(std::as_bytes(values), from, what);
  std::copy_n(all.begin(), values.size(), values.begin());
  for (std::size_t i = values.size(); i < all.size(); ++i) values[i % values.size()] += all[i];
}

void Group::barrier(const Describe& what) {
  const std::vector<std::span<std::byte>> nothing(static_cast<std::size_t>(size()));
  exchange({}, nothing, what);
}

}  // namespace seq1f1b::comm
