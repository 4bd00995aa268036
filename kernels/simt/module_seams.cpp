// What the emulated module has in place of NVIDIA's libraries. Ranks on the emulated device share
// it, so no communicator is ever asked for: their messages are staged through host memory.
// Attention as by cuDNN is there where the environment says so:
//   SEQ1F1B_SIMT_CUDNN            seconds that every call takes longer than it has to; absent: no cuDNN
//   SEQ1F1B_SIMT_CUDNN_MOST_KEYS  refuses lengths of more keys
#include <cstdlib>
#include <string>

#include "kernels/cuda/attention/cudnn_attention.h"
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/nccl_communicator.h"
#include "kernels/simt/emulated_attention.h"

namespace seq1f1b::kernels::cuda {

std::string libraries() { return "emulated device: no NVIDIA libraries"; }

std::unique_ptr<AttentionLibrary> make_cudnn_attention(const Context&) {
  const char* const wait = std::getenv("SEQ1F1B_SIMT_CUDNN");
  if (!wait) throw ConfigError("attention by cuDNN: the emulated device has none");
  simt::EmulatedAttentionOptions options;
  options.wait_seconds = std::stod(wait);
  if (const char* const most = std::getenv("SEQ1F1B_SIMT_CUDNN_MOST_KEYS"))
    options.most_keys = std::stoll(most);
  return simt::make_emulated_attention(options);
}

std::string cudnn_version() { return {}; }

bool make_communicator_id(CommunicatorId&, std::string& error) {
  error = "the emulated device has no NCCL";
  return false;
}

std::unique_ptr<Communicator> make_communicator(Device&, const CommunicatorOptions&,
                                                std::string& error) {
  error = "the emulated device has no NCCL";
  return nullptr;
}

}  // namespace seq1f1b::kernels::cuda
