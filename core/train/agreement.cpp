#include "core/train/agreement.h"

#include <charconv>
#include <filesystem>
#include <set>
#include <sstream>
#include <utility>

#include "core/base/files.h"
#include "core/comm/rank_names.h"

namespace seq1f1b::train {
namespace {

// The first line in which two texts differ, of each; "nothing" where one has ended.
std::pair<std::string, std::string> first_difference(const std::string& a, const std::string& b) {
  std::istringstream of_a(a), of_b(b);
  for (;;) {
    std::string left, right;
    const bool more_a = static_cast<bool>(std::getline(of_a, left));
    const bool more_b = static_cast<bool>(std::getline(of_b, right));
    if (left != right || more_a != more_b || !more_a)
      return {more_a ? left : "nothing", more_b ? right : "nothing"};
  }
}

}  // namespace

void agree(comm::Group& group, const std::string& what, const std::function<void()>& step) {
  agree(group, what, [&](comm::Watch&) { step(); });
}

void agree(comm::Group& group, const std::string& what,
           const std::function<void(comm::Watch&)>& step) {
  std::string mine;  // empty: well; else "code message"
  try {
    const auto watch = group.watch(what);
    step(*watch);
  } catch (const DeadlineError&) {
    throw;  // the group is no longer whole
  } catch (const Error& error) {
    mine = concat(static_cast<int>(error.code()), " ", error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    mine = concat(static_cast<int>(kExitData), " ", base::text_of(error));
  } catch (const std::exception& error) {
    mine = concat(static_cast<int>(kExitUnexpected), " ", what, ": ", error.what());
  }
  const auto all = group.all_gather(mine, [&] { return what; });
  for (const std::string& outcome : all) {
    if (outcome.empty()) continue;
    int code = kExitUnexpected;
    const char* end = outcome.data() + outcome.size();
    const char* rest = std::from_chars(outcome.data(), end, code).ptr;
    throw AgreedError(static_cast<ExitCode>(code), std::string(rest + 1, end));
  }
}

void require_equal(comm::Group& group, const std::string& what, const std::string& mine,
                   const std::string& must) {
  const auto all = group.all_gather(mine, [&] { return "comparing the " + what; });
  std::set<int> different;
  for (std::size_t rank = 1; rank < all.size(); ++rank)
    if (all[rank] != all[0]) different.insert(static_cast<int>(rank));
  if (different.empty()) return;
  const int first = *different.begin();
  const auto [theirs, ours] = first_difference(all[static_cast<std::size_t>(first)], all[0]);
  throw AgreedError(
      kExitMismatch,
      concat(comm::rank_names(different), different.size() == 1 ? " differs" : " differ",
             " from rank 0 in ", different.size() == 1 ? "its " : "their ", what, ": rank ", first,
             " has ", theirs, ", rank 0 has ", ours, "; all ranks must ", must));
}

}  // namespace seq1f1b::train
