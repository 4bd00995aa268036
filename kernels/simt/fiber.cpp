#include "kernels/simt/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#include "kernels/simt/address_sanitizer.h"

#ifdef __SANITIZE_ADDRESS__
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

// In the static block of thread-local memory also when loaded as a module, whose code would else
// ask a function for the address each time.
[[gnu::tls_model("initial-exec")]] constinit thread_local Fiber* t_running = nullptr;

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
#endif
#ifdef __SANITIZE_THREAD__
  thread_fiber_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#ifdef __SANITIZE_THREAD__
  __tsan_destroy_fiber(thread_fiber_);
#endif
  // A fiber that was given up leaves the marks of its frames.
  ASAN_UNPOISON_MEMORY_REGION(mapping_ + page_bytes(), kStackBytes);
#ifndef __x86_64__
  delete static_cast<ucontext_t*>(context_);
#endif
  munmap(mapping_, page_bytes() + kStackBytes);
}

// Whoever called resume(), as it was left.
struct Fiber::Resumer {
  void* context = nullptr;
  void* fake_stack = nullptr;
  const void* stack = nullptr;
  std::size_t stack_bytes = 0;
  void* thread_fiber = nullptr;
};

// First and again whenever control comes back into the fiber. The first to come is the one that was
// resumed, and is told which stack it came from.
void Fiber::arrived() {
#ifdef __SANITIZE_ADDRESS__
  const void* stack = nullptr;
  std::size_t bytes = 0;
  __sanitizer_finish_switch_fiber(fake_stack_, &stack, &bytes);
  if (resumer_->stack) return;
  resumer_->stack = stack;
  resumer_->stack_bytes = bytes;
#endif
}

void Fiber::leave(void** from, void* to) {
#ifdef __x86_64__
  seq1f1b_simt_switch(from, to);
#else
  swapcontext(static_cast<ucontext_t*>(*from), static_cast<ucontext_t*>(to));
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
  Resumer resumer;
#ifndef __x86_64__
  ucontext_t context;
  resumer.context = &context;
#endif
  resumer_ = &resumer;
  t_running = this;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&resumer.fake_stack, mapping_ + page_bytes(), kStackBytes);
#endif
#ifdef __SANITIZE_THREAD__
  resumer.thread_fiber = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(thread_fiber_, 0);
#endif
  leave(&resumer.context, context_);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(resumer.fake_stack, nullptr, nullptr);
#endif
  t_running = outer;
}

void Fiber::suspend() {
  Fiber& self = *t_running;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&self.fake_stack_, self.resumer_->stack,
                                 self.resumer_->stack_bytes);
#endif
#ifdef __SANITIZE_THREAD__
  __tsan_switch_to_fiber(self.resumer_->thread_fiber, 0);
#endif
  leave(&self.context_, self.resumer_->context);
  self.arrived();
}

void Fiber::hand_over(Fiber& next) {
  Fiber& self = *t_running;
  next.resumer_ = self.resumer_;
  t_running = &next;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&self.fake_stack_, next.mapping_ + page_bytes(), kStackBytes);
#endif
#ifdef __SANITIZE_THREAD__
  __tsan_switch_to_fiber(next.thread_fiber_, 0);
#endif
  leave(&self.context_, next.context_);
  self.arrived();
}

}  // namespace seq1f1b::simt
