#include "core/train/save_trial.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <numeric>
#include <thread>

#include "core/base/files.h"
#include "core/base/text.h"
#include "core/checkpoint/directory.h"
#include "core/checkpoint/folders.h"
#include "core/config/compute_dtype.h"
#include "core/train/agreement.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

// Network file systems may take a moment to show a new name on another host.
constexpr int kLooks = 20;
constexpr std::chrono::milliseconds kPause{100};

bool appears(const std::string& path) {
  for (int look = 0; look < kLooks; ++look) {
    if (base::exists(path)) return true;
    std::this_thread::sleep_for(kPause);
  }
  return false;
}

// As a save writes: a new file, synced, under its name only when it is whole.
void write_trial(const std::string& path) {
  const base::Disk disk;
  disk.write_file(path + ".part", "a trial, which may be removed\n");
  disk.rename(path + ".part", path);
}

std::string host() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

// A name that no other trial has had, so that nothing remembers whether it is there.
std::string new_name() {
  return concat(::getpid(), "_", std::chrono::system_clock::now().time_since_epoch().count());
}

class Trial {
 public:
  Trial(const std::string& run_directory, comm::Group& all)
      : all_(all),
        run_directory_(run_directory),
        // Named as a checkpoint being written, so that every save clears it away.
        folder_(concat(checkpoint::checkpoints_folder(run_directory), "/",
                       checkpoint::kTemporaryPrefix, checkpoint::step_name(0))) {}
  ~Trial() {
    try {
      if (all_.rank() == 0) base::Disk().remove_tree(folder_);
    } catch (const DataError&) {  // the next save tries again
    }
  }

  void run() {
    std::string name = new_name();
    attempt([&] {
      if (all_.rank() != 0) return;
      base::Disk().remove_tree(folder_);
      base::Disk().make_directory(folder_);
      write_trial(path_of(name, 0));
      base::Disk().sync_directory(folder_);
    });
    all_.broadcast(name, 0, [] { return "trying to save"; });
    std::string blind;  // this host, where it does not see what another has written
    attempt([&] {
      if (all_.rank() == 0) return;
      if (appears(path_of(name, 0)))
        write_trial(path_of(name, all_.rank()));
      else
        blind = host();
    });
    require_shared(blind);
    attempt([&] {
      for (int rank = 1; rank < all_.size() && all_.rank() == 0 && blind.empty(); ++rank)
        if (!appears(path_of(name, rank))) blind = host();
    });
    require_shared(blind);
  }

 private:
  std::string path_of(const std::string& name, int rank) const {
    return concat(folder_, "/", name, "_", rank);
  }

  void attempt(const std::function<void()>& body) {
    agree(all_, "trying to save in the run directory", [&] {
      try {
        body();
      } catch (const DataError& error) {
        throw DataError(concat("the run directory does not take checkpoints: rank ", all_.rank(),
                               " (", host(), "): ", error.what()));
      }
    });
  }

  void require_shared(const std::string& blind) {
    const auto hosts = all_.all_gather(blind, [] { return "comparing the run directories"; });
    std::vector<std::string> ranks;
    for (std::size_t rank = 0; rank < hosts.size(); ++rank)
      if (!hosts[rank].empty()) ranks.push_back(concat("rank ", rank, " (", hosts[rank], ")"));
    if (ranks.empty()) return;
    throw AgreedError(
        kExitData,
        concat(run_directory_, " is not shared: ", base::join(ranks),
               ranks.size() == 1 ? " does" : " do", " not see what ",
               ranks.front().starts_with("rank 0 ") ? "others" : "rank 0",
               " writes there. checkpoint.directory must be one folder for all ranks, on a file "
               "system that they share"));
  }

  comm::Group& all_;
  const std::string run_directory_, folder_;
};

// Multiples of `of` in (first, last].
std::int64_t multiples(std::int64_t of, std::int64_t first, std::int64_t last) {
  return last / of - first / of;
}

}  // namespace

void try_saving(const std::string& run_directory, comm::Group& all) {
  Trial(run_directory, all).run();
}

Places places(const config::CheckpointConfig& config, std::int64_t step, std::int64_t train_iters,
              std::int64_t existing) {
  if (!saves(config) || step >= train_iters) return {};
  const std::int64_t interval = config.save_interval > 0 ? config.save_interval : train_iters;
  const std::int64_t last = train_iters % interval == 0 ? 0 : 1;  // the end is saved, too
  const std::int64_t saved = multiples(interval, step, train_iters) + last;
  if (config.keep_last == 0) return {.rolling = 1, .all = saved};
  const std::int64_t free = std::max<std::int64_t>(1, config.keep_last + 1 - existing);
  Places places{.rolling = std::min(saved, free), .all = 0};
  std::int64_t permanent = 0;
  if (config.keep_every > 0) {
    // Else the least common multiple lies beyond the end, perhaps beyond any number.
    const std::int64_t factor = interval / std::gcd(interval, config.keep_every);
    if (factor <= train_iters / config.keep_every)
      permanent = multiples(factor * config.keep_every, step, train_iters);
    if (last == 1 && train_iters % config.keep_every == 0) ++permanent;
  }
  places.all = std::min(saved, places.rolling + permanent);
  return places;
}

std::string room_problem(const config::CheckpointConfig& config, const Places& places,
                         std::uint64_t checkpoint_bytes, std::uint64_t free_bytes,
                         const std::string& folder) {
  const auto needed = [&](std::int64_t count) {
    return static_cast<double>(count) * static_cast<double>(checkpoint_bytes);
  };
  const auto text = [&](std::int64_t count) {
    return concat(count, count == 1 ? " checkpoint of " : " checkpoints of ",
                  base::bytes_text(checkpoint_bytes), count == 1 ? " needs " : " need ",
                  base::bytes_text(static_cast<std::uint64_t>(needed(count))), ", ",
                  base::bytes_text(free_bytes), " free");
  };
  const auto free = static_cast<double>(free_bytes);
  if (needed(places.rolling) > free)
    throw DataError(concat("disk too full for ", folder, ": ", text(places.rolling),
                           " (checkpoint.keep_last ", config.keep_last,
                           ", and one being written). Make room, lower checkpoint.keep_last, or "
                           "name another checkpoint.directory"));
  if (needed(places.all) <= free) return "";
  return concat("the disk will be full before the end: ", text(places.all), " in ", folder,
                "; checkpoint.keep_last ", config.keep_last, " and checkpoint.keep_every ",
                config.keep_every, " keep them all");
}

void require_room(const plan::JobPlan& job, const RunState& state, comm::Group& all,
                  RunDirectory& directory) {
  const config::Config& config = job.config;
  if (!saves(config.checkpoint)) return;
  agree(all, "comparing the free space with the checkpoints to come", [&] {
    if (all.rank() != 0) return;
    const std::string folder = checkpoint::checkpoints_folder(directory.path());
    const std::int64_t existing = checkpoint::count_removable(
        directory.path(), state.course, state.step, config.checkpoint.keep_every);
    // Each parameter with its two moments.
    const std::uint64_t element_bytes = config::compute_dtype(config.runtime) == "fp64" ? 8 : 4;
    const std::string problem =
        room_problem(config.checkpoint,
                     places(config.checkpoint, state.step, config.training.train_iters, existing),
                     3 * element_bytes * static_cast<std::uint64_t>(job.parameters()),
                     base::free_space(folder), folder);
    if (!problem.empty()) directory.note(problem);
  });
}

}  // namespace seq1f1b::train
