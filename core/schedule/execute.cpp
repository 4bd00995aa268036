#include "core/schedule/execute.h"

#include <algorithm>
#include <utility>

#include "kernels/common/errors.h"

namespace seq1f1b::schedule {
namespace {

// Messages of an edge, in order: when each arrived and when its consumer took it.
struct Messages {
  std::vector<double> arrived, taken;
};

class Executor {
 public:
  Executor(const Schedule& schedule, const Machine& machine)
      : schedule_(schedule),
        machine_(machine),
        edges_(edges_of(schedule)),
        map_(schedule, edges_),
        messages_(edges_.size()),
        free_from_(schedule.orders.size()) {
    if (machine.depth)
      capacity_ =
          static_cast<std::size_t>(machine.depth->send_buffers + machine.depth->receive_buffers);
    result_.spans.resize(schedule.orders.size());
    result_.waits.resize(schedule.orders.size());
  }

  Execution run() {
    std::vector<char> queued(schedule_.orders.size(), 1);
    std::vector<std::size_t> ready;
    for (std::size_t rank = schedule_.orders.size(); rank-- > 0;) ready.push_back(rank);
    while (!ready.empty()) {
      const std::size_t rank = ready.back();
      ready.pop_back();
      while (step(rank)) {
        for (const int woken : woken_)
          if (!std::exchange(queued[static_cast<std::size_t>(woken)], 1))
            ready.push_back(static_cast<std::size_t>(woken));
      }
      queued[rank] = 0;
    }
    return std::move(result_);
  }

 private:
  // Runs the next action of a rank, if there is one that can run.
  bool step(std::size_t rank) {
    const Order& order = schedule_.orders[rank];
    std::vector<Span>& spans = result_.spans[rank];
    std::optional<Wait>& wait = result_.waits[rank];
    wait.reset();
    woken_.clear();
    if (spans.size() == order.size()) return false;
    const Action& action = order[spans.size()];
    const int stage = stage_of(schedule_, rank, action);
    const EdgeMap::Ends& ends = map_.of(stage, action.kind);

    double start = free_from_[rank];
    Messages* in =
        ends.receives < 0 ? nullptr : &messages_[static_cast<std::size_t>(ends.receives)];
    Messages* out = ends.sends < 0 ? nullptr : &messages_[static_cast<std::size_t>(ends.sends)];
    if (in) {
      const Edge& edge = edges_[static_cast<std::size_t>(ends.receives)];
      if (in->taken.size() == in->arrived.size()) {
        wait = {spans.size(), edge.from_rank, true};
        return false;
      }
      start = std::max(start, in->arrived[in->taken.size()]);
      woken_.push_back(edge.from_rank);
    }
    if (out) {
      const Edge& edge = edges_[static_cast<std::size_t>(ends.sends)];
      const std::size_t sent = out->arrived.size();
      if (machine_.depth && !edge.is_local() && sent >= capacity_) {
        if (out->taken.size() <= sent - capacity_) {
          wait = {spans.size(), edge.to_rank, false};
          return false;
        }
        start = std::max(start, out->taken[sent - capacity_]);
      }
      woken_.push_back(edge.to_rank);
    }

    const double duration = machine_.duration ? machine_.duration(action, stage) : 0;
    SEQ1F1B_ASSERT(duration >= 0, to_string(action), " takes ", duration);
    const double end = start + duration;
    if (in) in->taken.push_back(start);
    if (out) {
      const Edge& edge = edges_[static_cast<std::size_t>(ends.sends)];
      out->arrived.push_back(end + (machine_.delay ? machine_.delay(edge, action.unit) : 0));
    }
    free_from_[rank] = end;
    spans.push_back({start, end});
    return true;
  }

  const Schedule& schedule_;
  const Machine& machine_;
  const std::vector<Edge> edges_;
  const EdgeMap map_;
  std::size_t capacity_ = 0;
  std::vector<Messages> messages_;  // by edge
  std::vector<double> free_from_;   // by rank
  std::vector<int> woken_;          // ranks that may go on after the last step
  Execution result_;
};

}  // namespace

bool Execution::complete() const {
  return std::ranges::none_of(waits, [](const auto& wait) { return wait.has_value(); });
}

Execution execute(const Schedule& schedule, const Machine& machine) {
  return Executor(schedule, machine).run();
}

}  // namespace seq1f1b::schedule
