#include "core/schedule/json.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "kernels/common/errors.h"

namespace seq1f1b::schedule {

std::string to_json(const Schedule& schedule, std::span<const std::int64_t> segment_lengths,
                    std::span<const std::size_t> planned_bytes) {
  const Spec& spec = schedule.spec;
  SEQ1F1B_ASSERT(segment_lengths.size() == static_cast<std::size_t>(spec.segments),
                 "one length per segment");
  SEQ1F1B_ASSERT(planned_bytes.size() == schedule.orders.size(), "one size per rank");
  using Json = nlohmann::ordered_json;  // keys stay in this order
  Json orders = Json::array();
  for (const Order& order : schedule.orders) {
    Json actions = Json::array();
    for (const Action& action : order)
      actions.push_back({std::string(1, row_of(action.kind).letter), action.chunk,
                         action.unit.micro_batch, action.unit.segment});
    orders.push_back(std::move(actions));
  }
  const Json object = {
      {"ranks", spec.ranks},
      {"stages", schedule.stages()},
      {"chunks", spec.chunks},
      {"micro_batches", spec.micro_batches},
      {"segments", spec.segments},
      {"segment_lengths", std::vector(segment_lengths.begin(), segment_lengths.end())},
      {"split_backward", schedule.has(Feature::kSplitBackward)},
      {"placement", schedule.placement},
      {"orders", std::move(orders)},
      {"planned_bytes", std::vector(planned_bytes.begin(), planned_bytes.end())},
  };
  return object.dump() + '\n';
}

}  // namespace seq1f1b::schedule
