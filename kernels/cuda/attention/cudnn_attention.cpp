#include "kernels/cuda/attention/cudnn_attention.h"

#include <dlfcn.h>

// The frontend then takes cuDNN and the driver from handles instead of linking them: the module
// loads where they are not.
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#include <cudnn_frontend.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/cuda/attention/attention_rows.h"
#include "kernels/cuda/attention/scratch_attention.h"
#include "kernels/cuda/check.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;
}

namespace seq1f1b::kernels::cuda {
namespace {

namespace fe = cudnn_frontend;

// Where CUDA 12 and 13 are both installed the frontend takes its runtime functions from 12, whose
// signatures are not those that it was compiled with, unless this variable names a library
// (cudnn_frontend_shim.h, load_cudart_so).
void name_cuda_runtime() {
  const std::string library = concat("libcudart.so.", CUDART_VERSION / 1000);
  setenv("CUDNN_FRONTEND_CUDART_LIB_NAME", library.c_str(), 0);
}

// What the frontend throws, such as a function that an older libcudnn does not have, is a status,
// too.
template <class Call>
fe::error_t status_of(const Call& call) {
  try {
    return call();
  } catch (const std::exception& fault) {
    return {fe::error_code_t::CUDNN_BACKEND_API_FAILED, fault.what()};
  }
}

bool load_cudnn(std::string& why) {
  if (!fe::cudnn_dlhandle) fe::cudnn_dlhandle = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
  if (fe::cudnn_dlhandle) return true;
  why = dlerror();
  return false;
}

// Names of a graph's tensors when it runs.
enum Name : std::int64_t {
  kQuery = 1,
  kKey,
  kValue,
  kScale,
  kOutput,
  kStatistics,
  kGradOutput,
  kGradQuery,
  kGradKey,
  kGradValue
};

// micro_batch, tokens, heads, kv_heads, head_dim, capacity, keys
using Shape = std::array<std::int64_t, 7>;

Shape shape_of(const Tensor& query, const Tensor& key, const AttentionRange& range) {
  const Shape shape{query.dim(0), query.dim(1), query.dim(2),    key.dim(1),
                    query.dim(3), key.dim(2),   range.key_length};
  if (query.dtype != Dtype::kBf16)
    throw ConfigError("attention by cuDNN computes in bf16 only; use runtime.compute_dtype=bf16");
  if (range.document_start)
    throw ConfigError("attention by cuDNN does not keep documents apart; use our own kernels");
  // The library's rule: the last query sees the last key.
  SEQ1F1B_ASSERT(range.key_length == range.query_start + query.dim(1) - range.key_start,
                 "attention by cuDNN over keys that do not end where the queries do");
  return shape;
}

struct Layout {
  std::vector<std::int64_t> dim, stride;
};
// query, output and their gradients: [micro_batch, tokens, heads, head_dim] in memory
Layout query_layout(const Shape& s) {
  const auto [batch, tokens, heads, kv, width, capacity, keys] = s;
  return {{batch, heads, tokens, width}, {tokens * heads * width, width, heads * width, 1}};
}
Layout key_layout(const Shape& s) {
  const auto [batch, tokens, heads, kv, width, capacity, keys] = s;
  return {{batch, kv, keys, width}, {kv * capacity * width, capacity * width, width, 1}};
}
Layout key_gradient_layout(const Shape& s) {
  const auto [batch, tokens, heads, kv, width, capacity, keys] = s;
  return {{batch, kv, keys, width}, {kv * keys * width, keys * width, width, 1}};
}
Layout statistics_layout(const Shape& s) {
  return {{s[0], s[2], s[1], 1}, {s[2] * s[1], s[1], 1, 1}};
}

struct Plan {
  std::shared_ptr<fe::graph::Graph> graph;
  std::size_t workspace_bytes = 0;
};

class CudnnAttention final : public AttentionLibrary {
 public:
  explicit CudnnAttention(const Context& context)
      : stream_(context.stream), deterministic_(context.deterministic) {
    if (const auto status = fe::detail::create_handle(&handle_); status != CUDNN_STATUS_SUCCESS)
      throw ConfigError(concat("cuDNN does not start: ", fe::detail::get_error_string(status)));
    if (const auto status = fe::detail::set_stream(handle_, context.stream);
        status != CUDNN_STATUS_SUCCESS)
      throw Error(kExitUnexpected,
                  concat("cuDNN takes no stream: ", fe::detail::get_error_string(status)));
  }
  ~CudnnAttention() override {
    cudaFree(workspace_);
    fe::detail::destroy_handle(handle_);
  }

  void prepare(const Context&, const Tensor& query, const Tensor& key,
               const AttentionRange& range) override {
    const Shape shape = shape_of(query, key, range);
    try {
      forward_plan(shape);
      backward_plan(shape);
    } catch (...) {  // half of a pair is of no use
      forward_plans_.erase(shape);
      backward_plans_.erase(shape);
      throw;
    }
  }

  void release(const std::function<bool(std::int64_t, std::int64_t)>& kept) override {
    std::size_t workspace = 0;
    for (auto* plans : {&forward_plans_, &backward_plans_}) {
      std::erase_if(*plans,
                    [&](const auto& entry) { return !kept(entry.first[1], entry.first[6]); });
      for (const auto& [shape, plan] : *plans)
        workspace = std::max(workspace, plan.workspace_bytes);
    }
    if (workspace < workspace_bytes_) resize(workspace);
  }

  void forward(Context&, const Tensor& query, const Tensor& key, const Tensor& value,
               const AttentionRange& range, double scale, const Tensor& output,
               const Tensor& log_sum_exp) override {
    const Plan& plan = forward_plan(shape_of(query, key, range));
    float factor = static_cast<float>(scale);
    run(plan, {{kQuery, query.data},
               {kKey, key.data},
               {kValue, value.data},
               {kScale, &factor},
               {kOutput, output.data},
               {kStatistics, log_sum_exp.data}});
  }

  void backward(Context& context, const Tensor& grad_output, const Tensor& query, const Tensor& key,
                const Tensor& value, const Tensor& output, const Tensor& log_sum_exp,
                const AttentionRange& range, double scale, const Tensor& grad_query,
                const Tensor& grad_key, const Tensor& grad_value, Accumulate mode) override {
    const Shape shape = shape_of(query, key, range);
    const Plan& plan = backward_plan(shape);
    float factor = static_cast<float>(scale);
    const auto [batch, tokens, heads, kv, width, capacity, keys] = shape;
    const std::size_t bytes = cudnn_gradient_bytes(batch, kv, keys, width);
    auto* const key_part = context.scratch.take<std::byte>(bytes);
    auto* const value_part = context.scratch.take<std::byte>(bytes);
    run(plan, {{kQuery, query.data},
               {kKey, key.data},
               {kValue, value.data},
               {kScale, &factor},
               {kOutput, output.data},
               {kStatistics, log_sum_exp.data},
               {kGradOutput, grad_output.data},
               {kGradQuery, grad_query.data},
               {kGradKey, key_part},
               {kGradValue, value_part}});
    take_carry_gradient(context, key_part, range.key_length, grad_key, mode);
    take_carry_gradient(context, value_part, range.key_length, grad_value, mode);
  }

 private:
  using Tensors = std::unordered_map<std::int64_t, void*>;
  using Handle = std::shared_ptr<fe::graph::Tensor_attributes>;

  static void place(const Handle& tensor, Name name, const Layout& layout) {
    tensor->set_output(true).set_uid(name).set_dim(layout.dim).set_stride(layout.stride);
  }
  static Handle input(fe::graph::Graph& graph, Name name, const Layout& layout) {
    return graph.tensor(fe::graph::Tensor_attributes()
                            .set_uid(name)
                            .set_dim(layout.dim)
                            .set_stride(layout.stride)
                            .set_data_type(fe::DataType_t::BFLOAT16));
  }
  static Handle scale(fe::graph::Graph& graph) {
    return graph.tensor(fe::graph::Tensor_attributes()
                            .set_uid(kScale)
                            .set_dim({1, 1, 1, 1})
                            .set_stride({1, 1, 1, 1})
                            .set_is_pass_by_value(true)
                            .set_data_type(fe::DataType_t::FLOAT));
  }
  static std::shared_ptr<fe::graph::Graph> new_graph() {
    auto graph = std::make_shared<fe::graph::Graph>();
    graph->set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    return graph;
  }
  // A square mask is the plain causal one, which has the faster kernels.
  template <class Attributes>
  static void mask(Attributes& attributes, const Shape& s) {
    if (s[1] == s[6])
      attributes.set_causal_mask(true);
    else
      attributes.set_causal_mask_bottom_right(true);
  }

  const Plan& forward_plan(const Shape& s) {
    Plan& plan = forward_plans_[s];
    if (plan.graph) return plan;
    auto graph = new_graph();
    auto attributes =
        fe::graph::SDPA_attributes().set_generate_stats(true).set_attn_scale(scale(*graph));
    mask(attributes, s);
    auto [output, statistics] =
        graph->sdpa(input(*graph, kQuery, query_layout(s)), input(*graph, kKey, key_layout(s)),
                    input(*graph, kValue, key_layout(s)), attributes);
    place(output, kOutput, query_layout(s));
    place(statistics, kStatistics, statistics_layout(s));
    statistics->set_data_type(fe::DataType_t::FLOAT);
    finish(plan, std::move(graph), s, "forward");
    return plan;
  }

  const Plan& backward_plan(const Shape& s) {
    Plan& plan = backward_plans_[s];
    if (plan.graph) return plan;
    auto graph = new_graph();
    auto attributes = fe::graph::SDPA_backward_attributes()
                          .set_attn_scale(scale(*graph))
                          .set_deterministic_algorithm(deterministic_);
    mask(attributes, s);
    const Handle statistics = input(*graph, kStatistics, statistics_layout(s));
    statistics->set_data_type(fe::DataType_t::FLOAT);
    auto [grad_query, grad_key, grad_value] = graph->sdpa_backward(
        input(*graph, kQuery, query_layout(s)), input(*graph, kKey, key_layout(s)),
        input(*graph, kValue, key_layout(s)), input(*graph, kOutput, query_layout(s)),
        input(*graph, kGradOutput, query_layout(s)), statistics, attributes);
    place(grad_query, kGradQuery, query_layout(s));
    place(grad_key, kGradKey, key_gradient_layout(s));
    place(grad_value, kGradValue, key_gradient_layout(s));
    finish(plan, std::move(graph), s, "backward");
    return plan;
  }

  void finish(Plan& plan, std::shared_ptr<fe::graph::Graph> graph, const Shape& s,
              const char* direction) {
    std::int64_t bytes = 0;
    auto status = status_of([&] {
      auto built = graph->build(handle_, {fe::HeurMode_t::A});
      return built.is_good() ? graph->get_workspace_size(bytes) : built;
    });
    if (status.is_bad())
      throw ConfigError(concat("cuDNN does not do the ", direction, " of attention for ", s[0],
                               " sequences, ", s[1], " queries, ", s[6], " keys, ", s[2],
                               " heads over ", s[3], " of ", s[4],
                               deterministic_ ? ", deterministic" : "", ": ", status.get_message(),
                               "; use our own kernels"));
    plan.workspace_bytes = static_cast<std::size_t>(bytes);
    if (plan.workspace_bytes > workspace_bytes_) resize(plan.workspace_bytes);
    plan.graph = std::move(graph);
  }

  // Memory that is in use by issued work is let go only when that is done. Where there is too
  // little of it the old size comes back, for the shapes that it was for.
  void resize(std::size_t wanted) {
    check(cudaStreamSynchronize(stream_), "waiting for the GPU");
    cudaFree(workspace_);
    workspace_ = nullptr;
    const std::size_t before = std::exchange(workspace_bytes_, 0);
    if (wanted == 0) return;
    const cudaError_t error = cudaMalloc(&workspace_, wanted);
    if (error == cudaErrorMemoryAllocation && wanted > before) {
      (void)cudaGetLastError();  // else the next launch would report it as its own
      if (before > 0) check(cudaMalloc(&workspace_, before), "allocating memory for cuDNN");
      workspace_bytes_ = before;
      throw Error(kExitUnexpected,
                  concat("GPU memory: ", wanted >> 20,
                         " MiB of workspace for attention by cuDNN are not available; use "
                         "runtime.attention=own, shorter segments or a smaller micro-batch",
                         deterministic_ ? ", or runtime.deterministic=false" : ""));
    }
    check(error, "allocating memory for cuDNN");
    workspace_bytes_ = wanted;
  }

  void run(const Plan& plan, Tensors tensors) {
    auto status = status_of([&] { return plan.graph->execute(handle_, tensors, workspace_); });
    if (status.is_bad())
      throw Error(kExitUnexpected, concat("cuDNN, running attention: ", status.get_message()));
  }

  cudnnHandle_t handle_ = nullptr;
  cudaStream_t stream_;
  bool deterministic_;
  std::map<Shape, Plan> forward_plans_, backward_plans_;
  void* workspace_ = nullptr;
  std::size_t workspace_bytes_ = 0;
};

}  // namespace

std::unique_ptr<AttentionLibrary> make_cudnn_attention(const Context& context) {
  std::string why;
  if (!load_cudnn(why)) throw ConfigError(concat("attention by cuDNN: ", why));
  name_cuda_runtime();
  try {
    return std::make_unique<CudnnAttention>(context);
  } catch (const std::runtime_error& fault) {
    if (dynamic_cast<const Error*>(&fault)) throw;
    throw ConfigError(concat("cuDNN does not start: ", fault.what()));
  }
}

std::string cudnn_version() {
  std::string why;
  if (!load_cudnn(why)) return {};
  const auto version = fe::detail::get_backend_version();
  return concat(version / 10000, ".", version % 10000 / 100, ".", version % 100);
}

}  // namespace seq1f1b::kernels::cuda
