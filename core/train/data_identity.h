#pragma once
// What a run is trained on, kept in its checkpoints: the number of a sample stands for the same
// tokens only as long as files, split, seed and sequence length are the same.
#include <cstdint>
#include <string>

#include "core/config/config.h"
#include "core/data/token_files.h"

namespace seq1f1b::train {

// The field "data" of a checkpoint's extra state: {"seq_length", "files": [{"prefix", "documents",
// "tokens", "idx_xxh3_64", "bin_xxh3_64"}, in their order]}. Prefixes are for people: files that
// have moved are the same.
std::string data_json(const config::Config& config, const data::TokenFiles& files);

// Each returns a sentence per difference, joined by "; ", and nothing where there is none.

// Seed, split and sequence length against a checkpoint's extra state. One that has no data was
// written by version 0.1.0; `tokens_per_sample` is then what its counts say (0: they do not).
// Throws DataError as data_of_extra does.
std::string order_differences(const std::string& extra, std::int64_t tokens_per_sample,
                              const config::Config& configured);
// The files of two data_json, `mine` against `theirs`, whose owner is called so ("in the
// checkpoint").
std::string file_differences(const std::string& mine, const std::string& theirs,
                             const std::string& owner);

// The field "data" of a checkpoint's extra state; empty where there is none. Throws DataError where
// it is not what data_json makes; the functions above take what this returns.
std::string data_of_extra(const std::string& extra);

}  // namespace seq1f1b::train
