#pragma once
// One test body, every back end: a body builds its tensors through Run, calls operations, and names
// the results. Outputs start as NaN, every tensor sits between margins of NaN, which the address
// sanitizer lets no operation touch, and inputs must come out as they went in. Tensors lie in the
// device's memory: what plain code wants of them it asks Run for.
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::testing {

enum class Role { kCompute, kAccumulate };
using Dims = std::initializer_list<std::int64_t>;

// How exact a result can be.
struct Accuracy {
  std::int64_t length;   // how many terms one value sums
  double condition = 1;  // how much the operation amplifies a relative error of its operands
  double terms = 0;      // the size of the terms, where they may cancel to less
  // An accumulate tensor whose terms a back end may have rounded to the compute type on the way
  // (products of probabilities, of a saved output).
  bool rounded_terms = false;
  Accuracy(std::int64_t sum_length, double amplification = 1, double term_size = 0,
           bool terms_are_rounded = false)
      : length(sum_length),
        condition(amplification),
        terms(term_size),
        rounded_terms(terms_are_rounded) {}
};

struct Result {
  std::string name;
  std::vector<double> values;
  std::vector<std::byte> bytes;
  Dtype dtype;
  Accuracy accuracy;
};

// A body's view of one back end.
class Run {
 public:
  // Draws of compute tensors are rounded to `draws`, those of accumulate tensors to fp32, so that
  // back ends of several types can get the same ones.
  Run(Backend& backend, Dtype draws);
  explicit Run(Backend& backend) : Run(backend, backend.compute) {}
  Ops& ops;
  Dtype compute() const { return backend_.compute; }

  // Normal draws times `scale` plus `shift`.
  Tensor input(Dims dims, std::uint64_t key, double scale = 1, double shift = 0);
  Tensor inout(Dims dims, std::uint64_t key, Role role = Role::kCompute, double scale = 1);
  Tensor output(Dims dims, Role role = Role::kCompute);
  // A master of the same value as `weight`; absent where the back end needs none.
  Tensor master(const Tensor& weight);
  Tensor integers(Dims dims, const std::function<std::int64_t(std::int64_t)>& value);
  Tensor integer_output(Dims dims);
  // [micro_batch, kv_heads, capacity, head_dim] with only rows [first, last) filled, the others
  // NaN.
  Tensor carry(Dims dims, std::int64_t first, std::int64_t last, std::uint64_t key,
               Role role = Role::kCompute);
  double* scalar(double value);
  Tensor doubles(const std::vector<double>& values);  // 1-D
  AdamWParams* step(const AdamWParams& constants);
  // Element i becomes `value`.
  void set(const Tensor& tensor, std::int64_t i, double value);

  // What they hold now.
  std::vector<double> values(const Tensor& tensor);
  std::vector<std::int32_t> integer_values(const Tensor& tensor);
  double value(const double* scalar);
  AdamWParams value(const AdamWParams* step);

  // What is compared.
  void result(const std::string& name, const Tensor& tensor, const Accuracy& accuracy);
  // Rows [first, last) of a carry; all other rows must still be NaN.
  void result_rows(const std::string& name, const Tensor& tensor, std::int64_t first,
                   std::int64_t last, const Accuracy& accuracy);
  void result_scalar(const std::string& name, const double* value, const Accuracy& accuracy);

  // Checks margins and inputs, and returns the results.
  std::vector<Result> finish();

 private:
  struct Memory {
    std::vector<std::byte> bytes;  // margin, tensor, margin; on a host device the tensor itself
    Tensor tensor;
    std::vector<std::byte> original;  // of an input
    DeviceBuffer device;              // where the device is not the host
    std::byte* data = nullptr;        // of all three on the device
  };
  double draw(Role role, std::uint64_t key, std::int64_t i, double scale, double shift) const;
  Dtype dtype(Role role) const {
    return role == Role::kCompute ? backend_.compute : backend_.accumulate;
  }
  // `fill` writes the host's view of a new tensor before the device gets it.
  Tensor make(Dims dims, Dtype dtype, const std::function<void(const Tensor&)>& fill = {});
  Tensor keep(const Tensor& input);  // must stay as it is
  Memory& memory_of(const void* data);
  void with_open_margins(Memory& memory, const std::function<void()>& transfer);
  void send(Memory& memory);
  void receive(Memory& memory);
  Tensor host_view(const Tensor& tensor);
  void add_result(const std::string& name, const Tensor& tensor, std::int64_t first,
                  std::int64_t count, const Accuracy& accuracy);

  Backend& backend_;
  Dtype draws_;
  std::deque<Memory> memory_;
  std::vector<Result> results_;
};

using Body = std::function<void(Run&)>;

// Runs `body` on the fp64 reference, then twice (under the address sanitizer once) on every back
// end under test (back_ends.h). All must agree with the reference, which gets the same inputs:
// those of bf16 back ends are rounded to bf16 for it, too; the second run, and runs with other
// thread counts, must give the same bits.
void on_every_back_end(const Body& body);

// As above without comparison: for properties that hold within one back end.
void for_each_back_end(const std::function<void(Backend&)>& body);

// The values of a floating-point tensor in host memory.
std::vector<double> values_of(const Tensor& tensor);

}  // namespace seq1f1b::kernels::testing
