#include "core/schedule/json.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "tests/catch.h"
#include "tests/core/schedule/hand_made.h"

using namespace seq1f1b::schedule;
using Json = nlohmann::json;

TEST_CASE("a schedule as JSON, all of it") {
  const std::vector<std::int64_t> lengths{5, 3};
  const std::vector<std::size_t> bytes{1024, 512};
  const std::string text = to_json(make_schedule({"seq1f1b", 2, 1, 1, 2}), lengths, bytes);
  CHECK(Json::parse(text) == Json::parse(R"({
    "ranks": 2, "stages": 2, "chunks": 1, "micro_batches": 1, "segments": 2,
    "segment_lengths": [5, 3], "split_backward": false, "placement": [[0], [1]],
    "orders": [[["F",0,0,0], ["F",0,0,1], ["B",0,0,1], ["B",0,0,0]],
               [["F",0,0,0], ["F",0,0,1], ["B",0,0,1], ["B",0,0,0]]],
    "planned_bytes": [1024, 512]})"));
}

TEST_CASE("split backwards and chunks reach the JSON") {
  const std::vector<std::int64_t> lengths{8};
  const std::vector<std::size_t> bytes{1, 2};
  const Json split = Json::parse(to_json(zero_bubble(2, 1, 1), lengths, bytes));
  CHECK(split["split_backward"] == true);
  CHECK(split["orders"][1].back() == Json::parse(R"(["W", 0, 0, 0])"));
  const Json chunks = Json::parse(to_json(v_placement(2, 1), lengths, bytes));
  CHECK(chunks["placement"] == Json::parse("[[0, 3], [1, 2]]"));
  CHECK(chunks["stages"] == 4);
  CHECK(chunks["orders"][0][1] == Json::parse(R"(["F", 1, 0, 0])"));
}
