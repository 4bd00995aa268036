#include "kernels/cpu/onednn.h"

#include <omp.h>

#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

#include "kernels/common/errors.h"
#include "kernels/cpu/products.h"

namespace seq1f1b::kernels::cpu {
namespace {

using Descriptor = dnnl::memory::desc;

Descriptor describe(std::int64_t rows, std::int64_t columns, std::int64_t row_stride,
                    std::int64_t column_stride) {
  return Descriptor({rows, columns}, dnnl::memory::data_type::f32,
                    dnnl::memory::dims{row_stride, column_stride});
}

dnnl::matmul::primitive_desc make_primitive(const dnnl::engine& engine, const MatmulShape& shape) {
  const Descriptor a = describe(shape.rows, shape.depth, shape.a_row_stride, shape.a_depth_stride);
  const Descriptor b =
      describe(shape.depth, shape.columns, shape.b_depth_stride, shape.b_column_stride);
  const Descriptor c = describe(shape.rows, shape.columns, shape.c_row_stride, 1);
  const Descriptor bias = shape.bias ? describe(1, shape.columns, shape.columns, 1) : Descriptor();

  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  // The environment may ask the library for bf16 products; our bits do not depend on that.
  attributes.set_fpmath_mode(dnnl::fpmath_mode::strict);
  if (shape.add_to_c) {
    dnnl::post_ops operations;
    operations.append_sum(1.0f);
    attributes.set_post_ops(operations);
  }
#if DNNL_VERSION_MAJOR >= 3
  if (shape.bias) return {engine, a, b, bias, c, attributes};
  return {engine, a, b, c, attributes};
#else
  if (shape.bias) return {dnnl::matmul::desc(a, b, bias, c), attributes, engine};
  return {dnnl::matmul::desc(a, b, c), attributes, engine};
#endif
}

}  // namespace

bool onednn_uses_avx512() {
#if defined(__x86_64__)
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  // The names with a common part are sets of bits: one that holds avx512_core can do all of it.
  return (static_cast<unsigned>(isa) & static_cast<unsigned>(dnnl::cpu_isa::avx512_core)) ==
         static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
#else
  return false;
#endif
}

SingleThread::SingleThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
SingleThread::~SingleThread() { omp_set_num_threads(before_); }

struct Matmul::State {
  // What a thread needs of its own: the library's views carry the pointers of the call.
  struct Lane {
    dnnl::stream stream;
    dnnl::memory a, b, c, bias, scratch;
  };
  dnnl::matmul primitive;
  std::size_t scratch_bytes = 0;
  std::vector<Lane> lanes;
};

Matmul::Matmul(const MatmulShape& shape, int threads) try : state_(std::make_unique<State>()) {
  const SingleThread single;  // the library cuts its work for the threads it sees here
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const dnnl::matmul::primitive_desc description = make_primitive(engine, shape);
  const auto view = [&](const Descriptor& descriptor) {
    return dnnl::memory(descriptor, engine, nullptr);  // a null handle: nothing is allocated
  };
  state_->primitive = dnnl::matmul(description);
  state_->scratch_bytes = description.scratchpad_desc().get_size();
  for (int thread = 0; thread < threads; ++thread) {
    State::Lane lane{dnnl::stream(engine),
                     view(description.src_desc()),
                     view(description.weights_desc()),
                     view(description.dst_desc()),
                     dnnl::memory(),
                     view(description.scratchpad_desc())};
    if (shape.bias) lane.bias = view(describe(1, shape.columns, shape.columns, 1));
    state_->lanes.push_back(std::move(lane));
  }
} catch (const dnnl::error& error) {
  throw Error(kExitUnexpected, concat("oneDNN refused a matrix product of ", shape.rows, " x ",
                                      shape.columns, " x ", shape.depth, ": ", error.what(),
                                      ". Is its library version supported (2.6 or later)?"));
}

Matmul::Matmul(Matmul&&) noexcept = default;
Matmul::~Matmul() = default;

std::size_t Matmul::scratch_bytes() const { return state_->scratch_bytes; }

bool Matmul::run(int thread, const float* a, const float* b, const float* bias, float* c,
                 void* scratch) const noexcept {
  const State::Lane& lane = state_->lanes[static_cast<std::size_t>(thread)];
  dnnl_exec_arg_t arguments[5];
  int count = 0;
  bool good = true;
  // The C interface: no exceptions inside a parallel region.
  const auto bind = [&](int role, const dnnl::memory& view, const void* pointer) {
    good &= dnnl_memory_set_data_handle(view.get(), const_cast<void*>(pointer)) == dnnl_success;
    arguments[count++] = {role, view.get()};
  };
  bind(DNNL_ARG_SRC, lane.a, a);
  bind(DNNL_ARG_WEIGHTS, lane.b, b);
  bind(DNNL_ARG_DST, lane.c, c);
  if (lane.bias) bind(DNNL_ARG_BIAS, lane.bias, bias);
  if (state_->scratch_bytes > 0) bind(DNNL_ARG_SCRATCHPAD, lane.scratch, scratch);
  return good && dnnl_primitive_execute(state_->primitive.get(), lane.stream.get(), count,
                                        arguments) == dnnl_success;
}

}  // namespace seq1f1b::kernels::cpu
