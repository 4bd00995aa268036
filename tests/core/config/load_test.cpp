#include "tests/core/config/helpers.h"

#include <filesystem>
#include <fstream>

#include "core/config/schema.h"
#include "tests/catch.h"

using namespace seq1f1b;
using namespace seq1f1b::config;

TEST_CASE("values come from the file, then from overrides in order, and say so") {
  const Loaded loaded = load_text("model:\n  num_layers: 6\ntraining:\n  train_iters: 1e3\n",
                                  "run.yaml", {"model.hidden_size=96", "model.hidden_size=128"});
  CHECK(loaded.config.model.num_layers == 6);
  CHECK(loaded.config.model.hidden_size == 128);
  CHECK(loaded.config.training.train_iters == 1000);
  CHECK(loaded.config.training.seed == 1234);
  CHECK(loaded.origins.at("model.num_layers") == "run.yaml:2");
  CHECK(loaded.origins.at("model.hidden_size") == "command line");
  CHECK(loaded.origins.at("training.seed") == "default");
}

TEST_CASE("a list is written as a list, and a single value stands for a list of one") {
  const Loaded loaded =
      load_text("data: {train: a/b}\nschedule: {segment_lengths: [3, 2e1]}", "run.yaml", {});
  CHECK(loaded.config.data.train == std::vector<std::string>{"a/b"});
  CHECK(loaded.config.schedule.segment_lengths == std::vector<std::int64_t>{3, 20});
  const Loaded overridden = load_text("{}", "run.yaml", {"data.train=[x, \"y z\"]"});
  CHECK(overridden.config.data.train == std::vector<std::string>{"x", "y z"});
}

TEST_CASE("texts of overrides are taken as they are") {
  const Loaded loaded = load_text("{}", "run.yaml", {"checkpoint.directory=a: b # {c}=d"});
  CHECK(loaded.config.checkpoint.directory == "a: b # {c}=d");
  CHECK(loaded.origins.at("checkpoint.directory") == "command line");
}

TEST_CASE("a partition can be given as its lengths") {
  const Loaded loaded = load_text("schedule:\n  partition: [100, 156]\n", "run.yaml", {});
  CHECK(loaded.config.schedule.partition == "lengths");
  CHECK(loaded.config.schedule.segment_lengths == std::vector<std::int64_t>{100, 156});
  CHECK(loaded.origins.at("schedule.segment_lengths") == "run.yaml:2");

  SECTION("another partition on the command line replaces them") {
    const Loaded even =
        load_text("schedule: {partition: [100, 156]}", "run.yaml", {"schedule.partition=even"});
    CHECK(even.config.schedule.partition == "even");
    CHECK(even.config.schedule.segment_lengths.empty());
  }
  SECTION("other lengths on the command line replace them") {
    const Loaded other = load_text("schedule: {partition: [100, 156]}", "run.yaml",
                                   {"schedule.partition=[128,128]"});
    CHECK(other.config.schedule.segment_lengths == std::vector<std::int64_t>{128, 128});
  }
  SECTION("naming the kind again keeps them") {
    const Loaded same =
        load_text("schedule: {partition: [100, 156]}", "run.yaml", {"schedule.partition=lengths"});
    CHECK(same.config.schedule.segment_lengths == std::vector<std::int64_t>{100, 156});
  }
}

TEST_CASE("unknown keys get the nearest key, a name from elsewhere, or another section") {
  CHECK(load_error("model:\n  num_layer: 4\n") ==
        "run.yaml:2:3: unknown key 'num_layer' in section 'model' (did you mean 'num_layers'?)");
  CHECK(load_error("model: {n_embd: 4}") ==
        "run.yaml:1:9: unknown key 'n_embd' in section 'model' (did you mean 'hidden_size'?)");
  CHECK(load_error("training: {micro_batch: 4}") ==
        "run.yaml:1:12: unknown key 'micro_batch' in section 'training' (did you mean "
        "'micro_batch_size'?)");
  CHECK(load_error("model: {num_key_value_heads: 4}") ==
        "run.yaml:1:9: unknown key 'num_key_value_heads' in section 'model' (did you mean "
        "'num_query_groups'?)");
  CHECK(load_error("model: {seq_length: 4}") ==
        "run.yaml:1:9: unknown key 'seq_length' in section 'model' (it belongs to section "
        "'training')");
  CHECK(load_error("model: {learning_rate: 4}") ==
        "run.yaml:1:9: unknown key 'learning_rate' in section 'model' (did you mean "
        "'optimizer.lr'?)");
  CHECK(load_error("model: {zzzz: 4}") == "run.yaml:1:9: unknown key 'zzzz' in section 'model'");
  CHECK(load_error("modle: {}") == "run.yaml:1:1: unknown section 'modle' (did you mean 'model'?)");
  CHECK(load_error("lr: 3") ==
        "run.yaml:1:1: unknown section 'lr' (key 'lr' belongs to section 'optimizer')");
}

TEST_CASE("what yaml-cpp would let pass is refused with its place") {
  CHECK(load_error("model:\n  num_layers: 4\n  hidden_size: 8\n  num_layers: 5\n") ==
        "run.yaml:4:3: duplicate key 'num_layers' in section 'model', first given at line 2");
  CHECK(load_error("model: {}\nmodel: {}\n") ==
        "run.yaml:2:1: duplicate key 'model' in the file, first given at line 1");
  CHECK(load_error("model:\n  num_layers: 010\n") ==
        "run.yaml:2:15: model.num_layers: '010' has a leading zero, which some YAML readers take "
        "for octal; write 10");
  CHECK(load_error("model:\n  num_layers: '4'\n") ==
        "run.yaml:2:15: model.num_layers: \"4\" is a text; write the number without quotes");
  CHECK(load_error("model:\n  <<: {num_layers: 4}\n") ==
        "run.yaml:2:3: merge keys (<<) are not supported; repeat the keys");
  CHECK(load_error("model:\n  num_layers:\n") ==
        "run.yaml:2:3: model.num_layers: has no value (a variable that is not set?); remove the "
        "key to get the default");
  CHECK(load_error("model:\n  num_layers: [4]\n") ==
        "run.yaml:2:15: model.num_layers: must be a single value, not a list");
  CHECK(load_error("model:\n  [a, b]: 4\n") == "run.yaml:2:3: a key must be a word, not a list");
  CHECK(load_error("model: 4") ==
        "run.yaml:1:8: section 'model' must hold keys, not be a single value");
  CHECK(load_error("- model") == "run.yaml:1:1: sections are expected, not a list");
  CHECK(load_error("model: {}\n---\nmodel: {}\n").find("a second YAML document") !=
        std::string::npos);
  CHECK(load_error("model: {num_layers: 4").find("run.yaml:1:") == 0);
}

TEST_CASE("no key takes an empty value for something") {
  const std::string no_value =
      ": has no value (a variable that is not set?); remove the key to get the default";
  for (const Field& field : schema()) {
    CAPTURE(field.name());
    for (const std::string blank : {"", " "}) {
      const std::string override = field.name() + "=" + blank;
      CHECK(load_error("{}", {override}) ==
            "command line: " + override + ": " + field.name() + no_value);
    }
    const std::string key = field.section + ":\n  " + field.key + ":";
    CHECK(load_error(key + "\n") == "run.yaml:2:3: " + field.name() + no_value);
    for (const char* value : {"\"\"", "''", "\" \"", "~", "null"}) {
      CAPTURE(value);
      CHECK(load_error(key + " " + value + "\n").ends_with(field.name() + no_value));
    }
  }
  for (const char* list : {"[\"\", a]", "[a, ]", "[a,]", "[a,,b]", "[,a]", "[ ~ ]"}) {
    CAPTURE(list);
    CHECK(load_error("{}", {std::string("data.train=") + list}) != "no error");
  }
  CHECK(load_error("data: {train: [a, '']}") ==
        "run.yaml:1:15: data.train: element 2 has no value (a variable that is not set?)");
  CHECK(load_error("{}", {"data.train=[a,]"}) ==
        "command line: data.train=[a,]: the last element has no value (a variable that is not "
        "set?)");
  CHECK(load_error("data:\n  train: [\n    a,\n    b,\n  ]\n") == "no error");
}

TEST_CASE("a saved configuration of version 0.1.0 has empty texts for defaults") {
  const Loaded loaded = load_saved("data: {tokenizer: \"\", split: \"8,1,1\"}", "old.yaml");
  CHECK(loaded.config.data.tokenizer == "auto");
  CHECK(loaded.config.data.split == "8,1,1");
}

TEST_CASE("a value near a word gets the word") {
  CHECK(load_error("{}", {"checkpoint.resume=Auto"}) ==
        "command line: checkpoint.resume=Auto: checkpoint.resume: must be auto | none or a path, "
        "not Auto (did you mean 'auto'? A path of this name is written ./Auto)");
  for (const char* near : {"AUTO", "auto1", "aut0", "None", "nome"})
    CHECK(load_error("{}", {std::string("checkpoint.resume=") + near}) != "no error");
  for (const char* path : {"./Auto", "/None", "run/checkpoints/step_00000005", "step_00000005"})
    CHECK(load_error("{}", {std::string("checkpoint.resume=") + path}) == "no error");
  CHECK(load_error("{}", {"data.tokenizer=Auto"}) != "no error");
  CHECK(load_error("{}", {"runtime.compute_dtype=BF16"}).ends_with("(did you mean 'bf16'?)"));
  CHECK(load_error("{}", {"runtime.device=gpu"}).ends_with("not gpu"));
  CHECK(load_error("{}", {"schedule.name=gpip"}).ends_with("(did you mean 'gpipe'?)"));
}

TEST_CASE("an empty document is refused, an empty section is not") {
  const std::string refusal = "run.yaml: the file is empty; {} asks for all defaults";
  CHECK(load_error("") == refusal);
  CHECK(load_error("# only a comment\n") == refusal);
  CHECK(load_error("model:\n") == "no error");
}

TEST_CASE("values outside their range or list are refused with their place") {
  CHECK(load_error("model:\n  num_layers: 0\n") ==
        "run.yaml:2:15: model.num_layers: must be 1 to 65536, not 0");
  CHECK(load_error("optimizer: {adam_beta1: 1}") ==
        "run.yaml:1:25: optimizer.adam_beta1: must be 0 or more, below 1, not 1.0");
  CHECK(load_error("schedule: {segment_lengths: [3, 0]}") ==
        "run.yaml:1:29: schedule.segment_lengths: must be 1 or more, not [3, 0]");
  CHECK(load_error("model: {add_bias_linear: yes}") ==
        "run.yaml:1:26: model.add_bias_linear: must be true | false, not \"yes\"");
  CHECK(load_error("{}", {"schedule.name=pipedream"}) ==
        "command line: schedule.name=pipedream: schedule.name: must be gpipe | 1f1b | terapipe | "
        "seq1f1b | interleaved | seq1f1b-i | zb-h1 | seq1f1b-zb, not pipedream");
}

TEST_CASE("overrides are checked like the file") {
  CHECK(load_error("{}", {"num_layers"}) ==
        "command line: num_layers: an override looks like section.key=value");
  CHECK(load_error("{}", {"num_layers=4.5"}) ==
        "command line: num_layers=4.5: an override looks like section.key=value");
  CHECK(load_error("{}", {"modle.num_layers=4"}) ==
        "command line: modle.num_layers=4: unknown section 'modle' (did you mean 'model'?)");
  CHECK(load_error("{}", {"model.layers=4"}) ==
        "command line: model.layers=4: unknown key 'layers' in section 'model' (did you mean "
        "'num_layers'?)");
  CHECK(load_error("{}", {"data.train=[a"}).find("command line: data.train=[a: not a valid list") ==
        0);
}

TEST_CASE("all problems of file and overrides are in one message") {
  CHECK(load_error("model: {num_layers: 0, x: 1}\ntraining: 3\n", {"a.b=c=d", "oops"}) ==
        "the configuration has 5 problems:\n"
        "  run.yaml:1:21: model.num_layers: must be 1 to 65536, not 0\n"
        "  run.yaml:1:24: unknown key 'x' in section 'model'\n"
        "  run.yaml:2:11: section 'training' must hold keys, not be a single value\n"
        "  command line: a.b=c=d: unknown section 'a'; sections are model, parallel, schedule, "
        "training, optimizer, data, checkpoint, logging, runtime\n"
        "  command line: oops: an override looks like section.key=value");
}

TEST_CASE("a file that cannot be read is a configuration error") {
  const auto missing = config_error([] { load("/nowhere/run.yaml", {}); });
  CHECK(missing.find("cannot open /nowhere/run.yaml: No such file") == 0);
  const auto folder = config_error([] { load("/", {}); });
  CHECK(folder.find("cannot read /: Is a directory") == 0);
}
