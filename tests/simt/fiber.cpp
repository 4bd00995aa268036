#include "tests/simt/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace seq1f1b::simt {
namespace {

// Only touched pages take memory. A kernel keeps its register arrays here, and sanitizers put their
// margins between them.
constexpr std::size_t kStackBytes = 256 << 10;

constinit thread_local Fiber* t_running = nullptr;

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

}  // namespace

#ifdef __x86_64__
// Saves what the System V ABI lets a callee count on (rbx, rbp, r12-r15) on the stack being left,
// stores its stack pointer in *from, and continues from `to`. The control words of the floating
// point units are the same in all fibers and stay.
extern "C" void seq1f1b_simt_switch(void** from, void* to);
asm(R"(
.text
.globl seq1f1b_simt_switch
.hidden seq1f1b_simt_switch
.type seq1f1b_simt_switch, @function
seq1f1b_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size seq1f1b_simt_switch, .-seq1f1b_simt_switch
)");
#endif

Fiber::Fiber(Entry entry, void* argument) : entry_(entry), argument_(argument) {
  const std::size_t bytes = page_bytes() + kStackBytes;
  void* mapping = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<std::byte*>(mapping);
  mprotect(mapping, page_bytes(),
           PROT_NONE);  // an overflow ends the program instead of a neighbour
#ifdef __x86_64__
  // As a call would have left it: six registers, the return address, and a null return address for
  // whoever walks the stack.
  auto* top = reinterpret_cast<std::uintptr_t*>(mapping_ + bytes);
  top[-1] = 0;
  top[-2] = reinterpret_cast<std::uintptr_t>(&Fiber::begin);
  for (int i = 3; i <= 8; ++i) top[-i] = 0;
  context_ = top - 8;
#else
  auto* context = new ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = mapping_ + page_bytes();
  context->uc_stack.ss_size = kStackBytes;
  context->uc_link = nullptr;
  makecontext(context, &Fiber::begin, 0);
  context_ = context;
  resumer_context_ = new ucontext_t;
#endif
#ifdef __SANITIZE_THREAD__
  thread_fiber_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#ifdef __SANITIZE_THREAD__
  __tsan_destroy_fiber(thread_fiber_);
#endif
#ifdef __SANITIZE_ADDRESS__
  // A fiber that was given up leaves the marks of its frames.
  ASAN_UNPOISON_MEMORY_REGION(mapping_ + page_bytes(), kStackBytes);
#endif
#ifndef __x86_64__
  delete static_cast<ucontext_t*>(context_);
  delete static_cast<ucontext_t*>(resumer_context_);
#endif
  munmap(mapping_, page_bytes() + kStackBytes);
}

// First and again whenever control comes back into the fiber.
void Fiber::arrived() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake_stack_, &resumer_stack_, &resumer_stack_bytes_);
#endif
}

void Fiber::begin() {
  Fiber& self = *t_running;
  self.arrived();
  self.entry_(self.argument_);
  __builtin_trap();  // the entry returned
}

void Fiber::resume() {
  Fiber* outer = t_running;
  t_running = this;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&resumer_fake_stack_, mapping_ + page_bytes(), kStackBytes);
#endif
#ifdef __SANITIZE_THREAD__
  resumer_thread_fiber_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(thread_fiber_, 0);
#endif
#ifdef __x86_64__
  seq1f1b_simt_switch(&resumer_context_, context_);
#else
  swapcontext(static_cast<ucontext_t*>(resumer_context_), static_cast<ucontext_t*>(context_));
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(resumer_fake_stack_, nullptr, nullptr);
#endif
  t_running = outer;
}

void Fiber::suspend() {
  Fiber& self = *t_running;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&self.fake_stack_, self.resumer_stack_, self.resumer_stack_bytes_);
#endif
#ifdef __SANITIZE_THREAD__
  __tsan_switch_to_fiber(self.resumer_thread_fiber_, 0);
#endif
#ifdef __x86_64__
  seq1f1b_simt_switch(&self.context_, self.resumer_context_);
#else
  swapcontext(static_cast<ucontext_t*>(self.context_),
              static_cast<ucontext_t*>(self.resumer_context_));
#endif
  self.arrived();
}

}  // namespace seq1f1b::simt
