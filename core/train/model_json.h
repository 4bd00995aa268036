#pragma once
// The model section as JSON, stored in checkpoints and compared when one is loaded.
#include <string>

#include "core/config/config.h"
#include "core/train/trainer.h"

namespace seq1f1b::train {

std::string model_json(const config::ModelConfig& model);
// Sentences about fields that differ, "hidden_size is 64 in the checkpoint and 128 in the
// configuration"; empty when none does. Throws DataError when `stored` is not such an object.
std::string model_differences(const std::string& stored, const config::ModelConfig& configured);

// What a finished run needs to report again without evaluating: the checkpoint's extra state.
std::string evaluation_json(const std::optional<Evaluation>& evaluation);
std::optional<Evaluation> evaluation_from_json(const std::string& json);

}  // namespace seq1f1b::train
