#include "core/parameters/layout.h"

#include "kernels/common/errors.h"

namespace seq1f1b::parameters {
namespace {

std::int64_t aligned(std::int64_t elements) {
  return (elements + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
}

}  // namespace

Layout::Layout(const Table& table, const std::function<bool(const Use&)>& is_local) {
  std::int64_t next = 0;
  for (std::size_t index = 0; index < table.size(); ++index) {
    const ParameterInfo& row = table[index];
    LocalParameter local;
    local.info = row;
    local.table_index = index;
    for (const Use& use : row.uses)
      if (is_local(use)) local.uses.push_back(use);
    if (local.uses.empty()) continue;
    local.offset = row.fused_with_previous ? next : aligned(next);
    local.owner = local.uses.front() == row.uses.front();
    next = local.offset + row.elements();
    rows_.push_back(std::move(local));
  }
  elements_ = gradient_elements_ = aligned(next);
  for (LocalParameter& local : rows_) {
    local.gradient_offsets.push_back(local.offset);
    for (std::size_t use = 1; use < local.uses.size(); ++use) {
      local.gradient_offsets.push_back(gradient_elements_);
      gradient_elements_ += aligned(local.info.elements());
    }
  }
}

const LocalParameter& Layout::find(std::string_view name) const {
  for (const LocalParameter& local : rows_)
    if (local.info.name == name) return local;
  throw InternalError(concat("parameter '", name, "' is not on this rank"));
}

}  // namespace seq1f1b::parameters
