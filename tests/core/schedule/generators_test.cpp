#include <string>

#include "core/schedule/catalogue.h"
#include "core/schedule/edges.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/schedule/hand_made.h"

using namespace seq1f1b;
using namespace seq1f1b::schedule;

namespace {

std::string message_of(const Spec& spec) {
  try {
    make_schedule(spec);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}
bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the worked example of METHOD section 2, word for word") {
  CHECK(to_string(make_schedule({"seq1f1b", 4, 1, 4, 2})) ==
        "p0 (w=4): F1.1 F1.2 F2.1 F2.2 | F3.1 B1.2 F3.2 B1.1 F4.1 B2.2 F4.2 B2.1"
        " | B3.2 B3.1 B4.2 B4.1\n"
        "p1 (w=3): F1.1 F1.2 F2.1 | F2.2 B1.2 F3.1 B1.1 F3.2 B2.2 F4.1 B2.1 F4.2 B3.2"
        " | B3.1 B4.2 B4.1\n"
        "p2 (w=2): F1.1 F1.2 | F2.1 B1.2 F2.2 B1.1 F3.1 B2.2 F3.2 B2.1 F4.1 B3.2 F4.2 B3.1"
        " | B4.2 B4.1\n"
        "p3 (w=1): F1.1 | F1.2 B1.2 F2.1 B1.1 F2.2 B2.2 F3.1 B2.1 F3.2 B3.2 F4.1 B3.1 F4.2 B4.2"
        " | B4.1\n");
}

TEST_CASE("the other orders, in words") {
  CHECK(to_string(make_schedule({"gpipe", 2, 1, 3, 1})) ==
        "p0 (w=3): F1.1 F2.1 F3.1 | B1.1 B2.1 B3.1\n"
        "p1 (w=3): F1.1 F2.1 F3.1 | B1.1 B2.1 B3.1\n");
  CHECK(to_string(make_schedule({"1f1b", 3, 1, 4, 1})) ==
        "p0 (w=2): F1.1 F2.1 | F3.1 B1.1 F4.1 B2.1 | B3.1 B4.1\n"
        "p1 (w=1): F1.1 | F2.1 B1.1 F3.1 B2.1 F4.1 B3.1 | B4.1\n"
        "p2 (w=0): F1.1 B1.1 F2.1 B2.1 F3.1 B3.1 F4.1 B4.1\n");
  CHECK(to_string(make_schedule({"terapipe", 1, 1, 2, 2})) ==
        "p0 (w=4): F1.1 F1.2 F2.1 F2.2 | B1.2 B1.1 B2.2 B2.1\n");
  CHECK(to_string(make_schedule({"forward_only", 2, 1, 1, 2})) ==
        "p0 (w=2): F1.1 F1.2\np1 (w=2): F1.1 F1.2\n");
}

TEST_CASE("one segment makes seq1f1b 1f1b, and terapipe gpipe") {
  for (const int ranks : {1, 2, 5})
    for (const int micro_batches : {1, 3, 9}) {
      CHECK(make_schedule({"seq1f1b", ranks, 1, micro_batches, 1}).orders ==
            make_schedule({"1f1b", ranks, 1, micro_batches, 1}).orders);
      CHECK(make_schedule({"terapipe", ranks, 1, micro_batches, 1}).orders ==
            make_schedule({"gpipe", ranks, 1, micro_batches, 1}).orders);
    }
}

TEST_CASE("every schedule adds up gradients in the same order") {
  const auto backwards = [](const Schedule& schedule) {
    Order order;
    for (const Action& action : schedule.orders[0])
      if (action.kind == Kind::kBackward) order.push_back(action);
    return order;
  };
  CHECK(backwards(make_schedule({"seq1f1b", 3, 1, 4, 3})) ==
        backwards(make_schedule({"terapipe", 2, 1, 4, 3})));
}

TEST_CASE("a refusal names the key, the number and a way out") {
  const std::string unknown = message_of({"1f1", 2, 1, 2, 1});
  CHECK(contains(unknown, "'1f1'"));
  for (const CatalogueEntry& entry : catalogue()) CHECK(contains(unknown, entry.name));

  const std::string segments = message_of({"1f1b", 2, 1, 2, 4});
  CHECK(contains(segments, "schedule.segments = 4"));
  CHECK(contains(segments, "seq1f1b"));
  CHECK(contains(message_of({"gpipe", 2, 1, 2, 2}), "terapipe"));

  const std::string chunks = message_of({"seq1f1b", 2, 2, 2, 2});
  CHECK(contains(chunks, "virtual_pipeline_model_parallel_size = 2"));
  CHECK(contains(chunks, "seq1f1b-i"));
  const std::string one = message_of({"interleaved", 2, 1, 2, 1});
  CHECK(contains(one, "virtual_pipeline_model_parallel_size = 1"));
  CHECK(contains(one, "to 2, or schedule.name to 1f1b"));

  CHECK(contains(message_of({"seq1f1b", 0, 1, 1, 1}), "at least 1"));
  CHECK(contains(message_of({"seq1f1b", 1, 1, 0, 1}), "at least 1"));
  CHECK(contains(message_of({"seq1f1b", 1, 1, 1, -3}), "-3"));
  CHECK(contains(message_of({"seq1f1b", 1, 1, 1 << 20, 1 << 20}), "units"));
}

TEST_CASE("groups that the micro-batches do not fill are refused with the nearest that do") {
  // G = k ceil(P / k): groups of ceil(4 / 3) = 2 micro-batches.
  const std::string odd = message_of({"seq1f1b-i", 4, 2, 5, 3});
  CHECK(contains(odd, "in groups of 2, but there are 5"));
  CHECK(contains(odd, "use 4 or 6 micro-batches, or schedule.segments = 4"));
  CHECK(contains(message_of({"seq1f1b-i", 4, 2, 1, 3}), "use 2 micro-batches"));
  const std::string whole = message_of({"interleaved", 4, 2, 6, 1});
  CHECK(contains(whole, "use 4 or 8 micro-batches"));
  CHECK_FALSE(contains(whole, "or schedule.segments"));
  CHECK_NOTHROW(make_schedule({"seq1f1b-i", 4, 2, 6, 3}));
}

TEST_CASE("the interleaved order of Megatron-LM, P = 2, v = 2, M = 4") {
  CHECK(to_string(make_schedule({"interleaved", 2, 2, 4, 1})) ==
        "p0 (w=4): F1.1 F2.1 F1.1' F2.1' | F3.1 B1.1' F4.1 B2.1' F3.1' B1.1 F4.1' B2.1"
        " | B3.1' B4.1' B3.1 B4.1\n"
        "p1 (w=2): F1.1 F2.1 | F1.1' B1.1' F2.1' B2.1' F3.1 B1.1 F4.1 B2.1 F3.1' B3.1' F4.1' B4.1'"
        " | B3.1 B4.1\n");
}

TEST_CASE("weight gradients come a rank's number of backwards later") {
  CHECK(to_string(make_schedule({"zb-h1", 2, 1, 3, 1})) ==
        "p0 (w=1): F1.1 | F2.1 B1.1 W1.1 F3.1 B2.1 | W2.1 B3.1 W3.1\n"
        "p1 (w=0): F1.1 B1.1 F2.1 B2.1 W1.1 F3.1 B3.1 | W2.1 W3.1\n");
}

TEST_CASE("evaluation has its stages where training has them") {
  const Schedule training = v_placement(2, 2);
  const Schedule evaluation = evaluation_of(training);
  CHECK(evaluation.placement == training.placement);
  CHECK(to_string(evaluation) ==
        "p0 (w=4): F1.1 F1.2 F1.1' F1.2'\n"
        "p1 (w=4): F1.1 F1.2 F1.1' F1.2'\n");
}

TEST_CASE("edges join adjacent stages, on one rank too, for the flows in use") {
  const auto describe = [](const Schedule& schedule) {
    std::string text;
    for (const Edge& edge : edges_of(schedule))
      text += concat(edge.producing_stage, edge.flow == Flow::kActivation ? 'a' : 'g',
                     edge.from_rank, edge.to_rank, ' ');
    return text;
  };
  CHECK(describe(make_schedule({"seq1f1b", 3, 1, 2, 2})) == "0a01 1g10 1a12 2g21 ");
  CHECK(describe(make_schedule({"forward_only", 3, 1, 2, 2})) == "0a01 1a12 ");
  CHECK(describe(make_schedule({"seq1f1b", 1, 1, 2, 2})).empty());
  // V placement of four stages on two ranks: stages 1 and 2 share rank 1.
  const Schedule v = v_placement(2, 3);
  CHECK(describe(v) == "0a01 1g10 1a11 2g11 2a10 3g01 ");
  for (const Edge& edge : edges_of(v)) {
    CHECK(edge.is_local() == (edge.from_rank == edge.to_rank));
    if (edge.is_local()) CHECK(local_buffers(v, edge) == 3);
  }
}

TEST_CASE("a chunk above the first shows") {
  CHECK(to_string(Action{Kind::kBackward, 1, {2, 0}}) == "B3.1'");
  CHECK(to_string(Action{Kind::kWeightGrad, 0, {0, 4}}) == "W1.5");
  CHECK(describe(Action{Kind::kForward, 0, {0, 4}}) == "forward of micro-batch 1, segment 5");
  CHECK(describe(Action{Kind::kBackward, 1, {2, 0}}) ==
        "backward of micro-batch 3, segment 1, chunk 2");
}

TEST_CASE("nothing is needed beyond the ends of the pipeline and of the sequence") {
  const Schedule schedule = make_schedule({"seq1f1b", 3, 1, 2, 2});
  const auto needed = [&](Where where, int stage, int segment) {
    const auto found = needed_for(schedule, {Kind::kForward, where}, stage, {1, segment});
    return found ? concat(found->stage, ' ', found->unit.micro_batch, ' ', found->unit.segment)
                 : "nothing";
  };
  CHECK(needed(Where::kSameUnit, 2, 1) == "2 1 1");
  CHECK(needed(Where::kPreviousStage, 0, 1) == "nothing");
  CHECK(needed(Where::kPreviousStage, 1, 1) == "0 1 1");
  CHECK(needed(Where::kNextStage, 1, 0) == "2 1 0");
  CHECK(needed(Where::kNextStage, 2, 0) == "nothing");
  CHECK(needed(Where::kPreviousSegment, 1, 0) == "nothing");
  CHECK(needed(Where::kPreviousSegment, 1, 1) == "1 1 0");
  CHECK(needed(Where::kNextSegment, 1, 0) == "1 1 1");
  CHECK(needed(Where::kNextSegment, 1, 1) == "nothing");
}
