#include "core/train/data_identity.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/base/text.h"
#include "core/config/split.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

using Json = nlohmann::ordered_json;

// The files of a data section without what they are called.
std::vector<Json> identities(const Json& data) {
  std::vector<Json> list = data.value("files", std::vector<Json>());
  for (Json& file : list) file.erase("prefix");
  return list;
}

std::string size_text(const Json& file) {
  return concat(file.value("documents", Json()).dump(), " documents of ",
                file.value("tokens", Json()).dump(), " tokens");
}

// Throws DataError where a checkpoint's data section has other fields than data_json gives it.
void require_understood(const Json& data) {
  try {
    data.at("seq_length").get<std::int64_t>();
    if (!data.at("files").is_array()) throw DataError("\"files\" is no list");
    for (const Json& file : data["files"]) {
      for (const char* count : {"documents", "tokens"}) file.at(count).get<std::int64_t>();
      for (const char* text : {"prefix", "idx_xxh3_64", "bin_xxh3_64"})
        file.at(text).get<std::string>();
    }
  } catch (const std::exception& error) {
    throw DataError(concat("what it was trained on is not understood: ", error.what(),
                           "; another program wrote it, or it is damaged"));
  }
}

bool same_shares(const Json& stored, const std::string& ours) {
  if (stored == ours) return true;
  try {
    return config::split_proportions(stored.get<std::string>()) == config::split_proportions(ours);
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

std::string data_json(const config::Config& config, const data::TokenFiles& files) {
  Json list = Json::array();
  for (std::size_t i = 0; i < files.count(); ++i) {
    const data::CorpusIdentity& identity = files.identities()[i];
    list.push_back({{"prefix", config.data.train[i]},
                    {"documents", identity.documents},
                    {"tokens", identity.tokens},
                    {"idx_xxh3_64", identity.index_checksum},
                    {"bin_xxh3_64", identity.content_checksum}});
  }
  return Json{{"seq_length", config.training.seq_length}, {"files", std::move(list)}}.dump();
}

std::string data_of_extra(const std::string& extra) {
  const Json stored = Json::parse(extra, nullptr, false);
  if (!stored.is_object() || !stored.contains("data")) return "";
  const Json& data = stored["data"];
  require_understood(data);
  return data.dump();
}

std::string order_differences(const std::string& extra, std::int64_t tokens_per_sample,
                              const config::Config& configured) {
  const Json stored = Json::parse(extra, nullptr, false);
  if (!stored.is_object()) return "";
  std::vector<std::string> sentences;
  const auto differ = [&](const char* key, const Json& theirs, const Json& ours) {
    sentences.push_back(concat(key, " is ", theirs.dump(), " in the checkpoint and ", ours.dump(),
                               " in the configuration"));
  };
  const std::uint64_t seed = configured.training.seed;
  if (stored.contains("seed") && stored["seed"] != seed)
    differ("training.seed", stored["seed"], seed);
  const std::string& split = configured.data.split;
  if (stored.contains("split") && !same_shares(stored["split"], split))
    differ("data.split", stored["split"], split);
  Json length = tokens_per_sample;
  if (stored.contains("data")) {
    require_understood(stored["data"]);
    length = stored["data"]["seq_length"];
  }
  if (length != 0 && length != configured.training.seq_length)
    differ("training.seq_length", length, configured.training.seq_length);
  return base::join(sentences, "; ");
}

std::string file_differences(const std::string& mine, const std::string& theirs,
                             const std::string& owner) {
  const Json our_data = Json::parse(mine, nullptr, false);
  const Json their_data = Json::parse(theirs, nullptr, false);
  if (!our_data.is_object() || !their_data.is_object()) return "";
  const auto ours = identities(our_data), others = identities(their_data);
  if (ours == others) return "";
  const auto name = [](const Json& data, std::size_t i) {
    return data.at("files").at(i).value("prefix", "?");
  };
  std::vector<std::string> sentences;
  std::vector<bool> told(others.size());
  for (std::size_t i = 0; i < ours.size(); ++i) {
    if (std::ranges::find(others, ours[i]) != others.end()) continue;
    // What is called the same was replaced; anything else came anew.
    std::size_t same = 0;
    while (same < others.size() && name(their_data, same) != name(our_data, i)) ++same;
    if (same == others.size() || std::ranges::find(ours, others[same]) != ours.end()) {
      sentences.push_back(concat(name(our_data, i), " (", size_text(ours[i]), ") is new"));
      continue;
    }
    told[same] = true;
    const std::string size = size_text(ours[i]), their_size = size_text(others[same]);
    sentences.push_back(concat(name(our_data, i),
                               size == their_size
                                   ? concat(" has other contents than ", owner)
                                   : concat(" has ", size, ", not ", their_size, " as ", owner)));
  }
  for (std::size_t i = 0; i < others.size(); ++i)
    if (!told[i] && std::ranges::find(ours, others[i]) == ours.end())
      sentences.push_back(concat(name(their_data, i), " (", size_text(others[i]), ") is missing"));
  if (sentences.empty()) sentences.push_back(concat("the files are in another order than ", owner));
  return "data.train: " + base::join(sentences, "; ");
}

}  // namespace seq1f1b::train
