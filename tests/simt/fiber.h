#pragma once
// A fiber: a stack of its own that runs until it suspends itself. One per CUDA thread. Whoever
// resumes a fiber gets control back when it suspends; both happen on one OS thread.
#include <cstddef>

namespace seq1f1b::simt {

class Fiber {
 public:
  using Entry = void (*)(void* argument);
  // Nothing runs before the first resume(). `entry` never returns: it suspends for good.
  Fiber(Entry entry, void* argument);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void resume();
  // From inside a fiber: back to its resume().
  static void suspend();

 private:
  static void begin();
  void arrived();

  Entry entry_;
  void* argument_;
  std::byte* mapping_ = nullptr;  // guard page, then the stack
  void* context_ = nullptr;       // saved stack pointer, or a ucontext_t
  void* resumer_context_ = nullptr;
  // What the sanitizers keep about either side; unused without them.
  void* fake_stack_ = nullptr;
  void* resumer_fake_stack_ = nullptr;
  const void* resumer_stack_ = nullptr;
  std::size_t resumer_stack_bytes_ = 0;
  void* thread_fiber_ = nullptr;
  void* resumer_thread_fiber_ = nullptr;
};

}  // namespace seq1f1b::simt
