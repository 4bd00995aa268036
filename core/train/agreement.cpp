#include "core/train/agreement.h"

#include <charconv>
#include <filesystem>

#include "core/base/files.h"

namespace seq1f1b::train {

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

void require_equal(comm::Group& group, const std::string& what, const std::string& mine) {
  const auto all = group.all_gather(mine, [&] { return "comparing the " + what; });
  std::string different;
  for (std::size_t rank = 1; rank < all.size(); ++rank)
    if (all[rank] != all[0]) different += concat(different.empty() ? "" : ", ", rank);
  if (!different.empty())
    throw AgreedError(kExitMismatch,
                      concat("ranks ", different, " differ from rank 0 in their ", what,
                             ": all ranks must run the same program with the same configuration"));
}

}  // namespace seq1f1b::train
