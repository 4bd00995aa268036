#pragma once
// The parameter table: one row per tensor of the model, whatever the layout of the job. Identity is
// the name and the position in the whole tensor; stages, ranks and fused storage are views of it.
#include <cstdint>
#include <string>
#include <vector>

namespace seq1f1b::parameters {

enum class Initializer : std::uint8_t { kNormal, kZeros, kOnes };

// A place in the model that reads the tensor: the embedding, block `index`, or the head.
enum class Site : std::uint8_t { kEmbedding, kBlock, kHead };
struct Use {
  Site site = Site::kBlock;
  int block = 0;
  friend bool operator==(const Use&, const Use&) = default;
};

struct ParameterInfo {
  std::string name;                 // canonical: "layers.7.attention.query.weight"
  std::vector<std::int64_t> shape;  // whole, unpadded
  Initializer initializer = Initializer::kNormal;
  double standard_deviation = 0;     // kNormal
  bool decay = true;                 // weight decay applies (not to norms and biases)
  std::vector<Use> uses;             // more than one: a tied tensor; the first use owns it
  bool fused_with_previous = false;  // follows the previous row without padding, so that both
                                     // together form one fused operand (q, k, v; gate, up)
  std::string file;  // checkpoint file that holds it, without extension: "layers.0007"

  std::int64_t elements() const {
    std::int64_t count = 1;
    for (std::int64_t extent : shape) count *= extent;
    return count;
  }
};

// In canonical order: embedding, blocks ascending, final norm and head.
using Table = std::vector<ParameterInfo>;

}  // namespace seq1f1b::parameters
