#include "core/comm/connection_plan.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>

#include "core/comm/rank_names.h"
#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

using Number = std::int32_t;

void append(std::string& text, const void* bytes, std::size_t count) {
  text.append(static_cast<const char*>(bytes), count);
}
void append(std::string& text, Number number) { append(text, &number, sizeof number); }

// Reads what append wrote, from the front.
class Reader {
 public:
  explicit Reader(const std::string& text) : rest_(text) {}
  bool done() const { return rest_.empty(); }
  Number number() {
    Number value = 0;
    take(&value, sizeof value);
    return value;
  }
  void take(void* bytes, std::size_t count) {
    SEQ1F1B_ASSERT(count <= rest_.size(), "an announcement ends early");
    std::memcpy(bytes, rest_.data(), count);
    rest_.remove_prefix(count);
  }

 private:
  std::string_view rest_;
};

}  // namespace

std::string Connection::name() const {
  if (is_group) return concat("the group of ", rank_names(members));
  return concat("channel ", id, " from rank ", members[0], " to rank ", members[1]);
}

std::weak_ordering operator<=>(const Connection& a, const Connection& b) {
  if (a.is_group != b.is_group) return a.is_group <=> b.is_group;
  if (a.is_group && a.id != b.id) return a.id <=> b.id;
  if (a.members != b.members) return a.members <=> b.members;
  return a.id <=> b.id;
}

std::string announce(std::span<const Connection> mine) {
  std::string text;
  for (const Connection& connection : mine) {
    append(text, connection.is_group ? 1 : 0);
    append(text, connection.id);
    append(text, static_cast<Number>(connection.members.size()));
    for (const int member : connection.members) append(text, member);
    append(text, connection.key.data(), connection.key.size());
  }
  return text;
}

std::vector<Connection> merge(const std::vector<std::string>& announcements) {
  struct Found {
    kernels::CommunicatorId key{};
    std::vector<int> announced_by;
  };
  std::map<Connection, Found> found;
  for (std::size_t rank = 0; rank < announcements.size(); ++rank) {
    for (Reader reader(announcements[rank]); !reader.done();) {
      Connection connection;
      connection.is_group = reader.number() != 0;
      connection.id = reader.number();
      connection.members.resize(static_cast<std::size_t>(reader.number()));
      for (int& member : connection.members) member = reader.number();
      kernels::CommunicatorId key{};
      reader.take(key.data(), key.size());
      Found& entry = found[connection];
      entry.announced_by.push_back(static_cast<int>(rank));
      if (connection.members.front() == static_cast<int>(rank)) entry.key = key;
    }
  }
  std::vector<Connection> merged;
  for (const auto& [connection, entry] : found) {
    std::vector<int> expected = connection.members;
    std::ranges::sort(expected);
    SEQ1F1B_ASSERT(entry.announced_by == expected, connection.name(), " was made by ",
                   rank_names(entry.announced_by), " alone");
    merged.push_back(connection);
    merged.back().key = entry.key;
  }
  return merged;
}

std::vector<int> plan_rounds(std::span<const Connection> connections) {
  std::map<int, std::vector<bool>> busy;  // [rank][round]
  std::vector<int> rounds;
  for (const Connection& connection : connections) {
    const auto is_busy = [&](std::size_t round) {
      return std::ranges::any_of(connection.members, [&](int member) {
        const std::vector<bool>& taken = busy[member];
        return round < taken.size() && taken[round];
      });
    };
    std::size_t round = 0;
    while (is_busy(round)) ++round;
    for (const int member : connection.members) {
      std::vector<bool>& taken = busy[member];
      taken.resize(std::max(taken.size(), round + 1));
      taken[round] = true;
    }
    rounds.push_back(static_cast<int>(round));
  }
  return rounds;
}

}  // namespace seq1f1b::comm
