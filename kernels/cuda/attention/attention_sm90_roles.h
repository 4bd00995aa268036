#pragma once
// What a block of Hopper's attention kernels consists of: one warp group, of which one thread
// loads, and warp groups that compute, with rings of tiles in shared memory between them.
#include <cstdint>

#include "kernels/cuda/attention/attention_sm90_tiles.h"
#include "kernels/cuda/device_code/language.h"
#include "kernels/cuda/device_code/ptx_sm90.h"

namespace seq1f1b::kernels::cuda::sm90 {

// Threads of a block and registers per thread, whose sum over all threads is what the launch
// allots, at most 64 Ki.
template <int kConsumers>
struct WarpGroups {
  static_assert(kConsumers == 2 || kConsumers == 3);
  static constexpr int kThreads = kGroup * (kConsumers + 1);
  static constexpr int kProducerRegisters = kConsumers == 2 ? 24 : 32;
  static constexpr int kConsumerRegisters = kConsumers == 2 ? 240 : 160;
};

// Where somebody is in a ring of kStages tiles, and how often it has gone round.
template <int kStages>
struct RingPlace {
  int stage = 0, parity = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
};

// kStages tiles of kBytes from kTiles on, and behind kBarriers two barriers per tile: full, which
// the loads complete, and empty, at which every computing warp arrives once. `shared`: where the
// block's shared memory begins.
template <int kStages, int kBytes, int kTiles, int kBarriers>
struct Ring {
  static_assert(kBytes % 16 == 0 && kTiles % 16 == 0 && kBarriers % kBarrierBytes == 0);
  static constexpr int kTilesEnd = kTiles + kStages * kBytes;
  static constexpr int kBarriersEnd = kBarriers + 2 * kStages * kBarrierBytes;
  using Place = RingPlace<kStages>;

  __device__ static __forceinline__ std::uint32_t full(std::uint32_t shared, int stage) {
    return shared + kBarriers + stage * kBarrierBytes;
  }
  __device__ static __forceinline__ std::uint32_t empty(std::uint32_t shared, int stage) {
    return full(shared, kStages + stage);
  }
  // One thread, before all others.
  __device__ static __forceinline__ void initialise(std::uint32_t shared, int computing_warps) {
#pragma unroll
    for (int stage = 0; stage < kStages; ++stage) {
      mbarrier_init(full(shared, stage), 1);
      mbarrier_init(empty(shared, stage), computing_warps);
    }
  }
  // Who loads: waits until the tile is free, calls load(tile, barrier), which loads kExpected
  // bytes, and goes on.
  template <int kExpected = kBytes, class Load>
  __device__ static __forceinline__ void fill(std::uint32_t shared, Place& place, Load load) {
    mbarrier_wait(empty(shared, place.stage), place.parity ^ 1);
    mbarrier_arrive_expect(full(shared, place.stage), kExpected);
    load(shared + kTiles + place.stage * kBytes, full(shared, place.stage));
    place.advance();
  }
  // Who computes: until the tile has come; a warp that does not read it any more.
  __device__ static __forceinline__ void wait(std::uint32_t shared, const Place& place) {
    mbarrier_wait(full(shared, place.stage), place.parity);
  }
  __device__ static __forceinline__ void release(std::uint32_t shared, int stage, int lane) {
    if (lane == 0) mbarrier_arrive(empty(shared, stage));
  }
};

// A kernel: one thread initialises barriers, then one loads and the others compute.
template <class Groups, class Initialise, class Load, class Compute>
__device__ __forceinline__ void run_roles(Initialise initialise, Load load, Compute compute) {
  if (threadIdx.x == 0) {
    initialise();
    fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x < kGroup) {
    give_registers<Groups::kProducerRegisters>();
    if (threadIdx.x == 0) load();
  } else {
    take_registers<Groups::kConsumerRegisters>();
    compute();
  }
}

}  // namespace seq1f1b::kernels::cuda::sm90
