#pragma once
// What a checkpoint's index says beside its tensors, as JSON and back: the model, which is compared
// when one is loaded, and the state of the run (docs/checkpoint.md).
#include <string>

#include "core/config/config.h"
#include "core/runtime/attention_choice.h"
#include "core/train/evaluation.h"

namespace seq1f1b::train {

// The keys of the model section in their order but init_method_std, which only initial weights
// know; what is true or false as a JSON boolean.
std::string model_json(const config::ModelConfig& model);
// Sentences about fields that differ, "hidden_size is 64 in the checkpoint and 128 in the
// configuration"; empty when none does. Takes booleans as text, too, which index.json of version 1
// has. Throws DataError when `stored` is not such an object.
std::string model_differences(const std::string& stored, const config::Config& config);

std::string evaluation_json(const Evaluation& evaluation);

// Whose kernels compute attention and why: {"device", "compute_dtype", "deterministic",
// "micro_batch_size", "lengths": [{"tokens", "keys", "kernels": "own" or "cudnn", "own_seconds",
// "cudnn_seconds", "cudnn_refusal"}]}, of the last three what there is. For people to read, too.
std::string attention_json(const runtime::AttentionChoice& choice);

// A checkpoint's extra state: what decides which samples are read (compared on resume, because
// others would train on text that validated before), the last evaluation, so that a finished run
// can report it again, the choice of runtime.attention: auto, and `data` (data_json; empty: none).
std::string extra_json(const config::Config& config, const std::optional<Evaluation>& evaluation,
                       const std::optional<runtime::AttentionChoice>& attention = {},
                       const std::string& data = {});
std::optional<Evaluation> evaluation_of_extra(const std::string& extra);
// None where there is none. Throws DataError where it is not understood.
std::optional<runtime::AttentionChoice> attention_of_extra(const std::string& extra);

}  // namespace seq1f1b::train
