// Under mpirun: jobs that go wrong in the way that the command line names. fault_test.cpp runs
// them.
#include <signal.h>
#include <unistd.h>

#include <array>
#include <iostream>
#include <map>
#include <thread>

#include "tests/core/comm/mpi_job.h"
#include "tests/core/comm/world_bodies.h"

using namespace seq1f1b;
using namespace seq1f1b::comm;

namespace {

void receive_from(World& world, int peer, std::size_t bytes) {
  testing::Ring ring(2, 1000);
  const auto receiver = world.make_receiver(peer, 0, ring.buffers());
  receiver->expect(std::array<std::size_t, 1>{bytes});
  receiver->wait([] { return std::string("forward of micro-batch 0, segment 2 (step 7)"); });
}

void send_to(World& world, int peer, std::size_t bytes, int messages) {
  testing::Ring ring(1, bytes);
  const auto sender = world.make_sender(peer, 0, ring.buffers());
  for (int m = 0; m < messages; ++m) {
    sender->acquire([] { return std::string("backward of micro-batch 1, segment 0 (step 7)"); });
    sender->commit(bytes);
  }
}

void sleep_long() { std::this_thread::sleep_for(std::chrono::seconds(300)); }

// The peer lives and never sends.
void silent(World& world) {
  if (world.rank() == 0) receive_from(world, 1, 100);
  sleep_long();
}

// The peer never makes room.
void unread(World& world) {
  if (world.rank() == 0) send_to(world, 1, 1'000'000, 2);
  sleep_long();
}

void stopped(World& world) {
  if (world.rank() == 1) raise(SIGSTOP);
  receive_from(world, 1, 100);
}

void killed(World& world) {
  if (world.rank() == 1) raise(SIGKILL);
  receive_from(world, 1, 100);
}

// Everybody waits: each rank's message is heard before the job ends.
void deadlocked(World& world) { receive_from(world, 1 - world.rank(), 100); }

void missing_member(World& world) {
  const auto group = world.make_group(std::array<int, 2>{0, 1});
  if (world.rank() == 1) sleep_long();
  std::vector<double> values(3);
  group->all_reduce_sum(values, [] { return std::string("norm of step 4"); });
}

void never_leaves(World& world) {
  if (world.rank() == 1) sleep_long();
}

// Nobody writes into the pipe: reading it sleeps for ever, inside the system.
void reads_a_pipe(World& world) {
  const auto group = world.make_group(std::array<int, 2>{0, 1});
  if (world.rank() == 1) {
    const auto watch = group->watch("reading a pipe");
    int ends[2];
    char byte = 0;
    if (pipe(ends) != 0) throw DataError("no pipe");
    const ssize_t count = read(ends[0], &byte, 1);
    throw DataError(concat("the pipe was read: ", count));
  }
  sleep_long();
}

void too_short(World& world) {
  if (world.rank() == 0)
    receive_from(world, 1, 100);
  else
    send_to(world, 0, 99, 1);
}

void too_long(World& world) {
  if (world.rank() == 0)
    receive_from(world, 1, 100);
  else
    send_to(world, 0, 101, 1);
}

// An exception leaves a channel whose message nobody has taken.
void thrown(World& world) {
  if (world.rank() == 0) {
    testing::Ring ring(1, 1'000'000);
    const auto sender = world.make_sender(1, 0, ring.buffers());
    sender->acquire(testing::nothing_special);
    sender->commit(1'000'000);
    throw DataError("rank 0: tokens.bin: truncated at byte 4096");
  }
  sleep_long();
}

// An exception leaves a sum to which the other member has not come, and whose messages are so long
// that they wait for it.
void thrown_in_sum(World& world) {
  std::vector<float> values(1'000'000);
  const auto group = world.make_tensor_group(std::array<int, 2>{0, 1}, 4 * values.size());
  if (world.rank() == 0) {
    group->start_all_reduce_sum(
        kernels::Tensor(values.data(), kernels::Dtype::kF32, {std::int64_t{1'000'000}}),
        testing::nothing_special);
    throw DataError("rank 0: tokens.bin: truncated at byte 4096");
  }
  sleep_long();
}

void unfinished(World& world) {
  if (world.rank() == 0) {
    testing::Ring ring(1, 100);
    const auto sender = world.make_sender(1, 0, ring.buffers());
    sender->acquire(testing::nothing_special);
    sender->commit(100);
  }
  if (world.rank() == 1) sleep_long();
}

void fine(World&) {}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, void (*)(World&)> faults = {{"silent", silent},
                                                          {"unread", unread},
                                                          {"stopped", stopped},
                                                          {"killed", killed},
                                                          {"deadlocked", deadlocked},
                                                          {"missing_member", missing_member},
                                                          {"never_leaves", never_leaves},
                                                          {"reads_a_pipe", reads_a_pipe},
                                                          {"too_short", too_short},
                                                          {"too_long", too_long},
                                                          {"thrown", thrown},
                                                          {"thrown_in_sum", thrown_in_sum},
                                                          {"unfinished", unfinished},
                                                          {"fine", fine}};
  WorldOptions options;
  const double deadline = argc > 2 ? std::stod(argv[2]) : 2;
  options.deadline = std::chrono::duration<double>(deadline);
  options.grace = std::chrono::duration<double>(deadline / 2);
  options.on_deadline = [](const std::string& message) {
    std::cout << "for the log: " << message << std::endl;
  };
  const std::string fault = argc > 1 ? argv[1] : "";
  if (fault == "never_starts") {
    const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
    if (rank != nullptr && std::string(rank) == "1") sleep_long();
    return testing::run_job(options, fine);
  }
  try {
    return testing::run_job(options, faults.at(fault));
  } catch (const Error& error) {
    std::cerr << error.what() << std::endl;
    return error.code();
  }
}
