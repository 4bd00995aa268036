#pragma once
// A fiber: a stack of its own that runs until it suspends itself. One per CUDA thread. Whoever
// resumes a fiber gets control back when it, or the one it handed over to, suspends; all of that
// happens on one OS thread.
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
  // From inside a fiber: `next` goes on, and suspends to whoever resumed this one; half the way of
  // a suspend and a resume.
  static void hand_over(Fiber& next);

 private:
  struct Resumer;
  static void begin();
  void arrived();
  static void leave(void** from, void* to);

  Entry entry_;
  void* argument_;
  std::byte* mapping_ = nullptr;  // guard page, then the stack
  void* context_ = nullptr;       // saved stack pointer, or a ucontext_t
  Resumer* resumer_ = nullptr;    // in the frame of the resume() to go back to
  // What the sanitizers keep; unused without them.
  void* fake_stack_ = nullptr;
  void* thread_fiber_ = nullptr;
};

}  // namespace seq1f1b::simt
