#include "tests/catch.h"
#include "tests/core/config/helpers.h"

using namespace seq1f1b;
using namespace seq1f1b::config;

TEST_CASE("a valid configuration gives its derived values") {
  const Config config =
      resolved({"parallel.pipeline_model_parallel_size=4", "training.micro_batch_size=2",
                "training.global_batch_size=16", "training.seq_length=512"})
          .config;
  for (const int world_size : {0, 4}) {
    const Derived derived = validate(config, world_size);
    CHECK(derived.world_size == 4);
    CHECK(derived.data_parallel_size == 1);
    CHECK(derived.micro_batches == 8);
    CHECK(derived.tokens_per_step == 16 * 512);
  }
}

TEST_CASE("the number of ranks must be what the mesh needs") {
  const std::vector<std::string> four{"parallel.pipeline_model_parallel_size=4"};
  CHECK(
      validate_error(four, 1) ==
      "world size 1 must be tp (1) * cp (1) * pp (4) * dp = 4 * dp: start 4 ranks (mpirun -np 4)");
  CHECK(
      validate_error(four, 6) ==
      "world size 6 must be tp (1) * cp (1) * pp (4) * dp = 4 * dp: start 4 ranks (mpirun -np 4)");
  CHECK(validate_error(four, 8) ==
        "world size 8 = tp (1) * cp (1) * pp (4) * dp gives dp = 2, but data parallelism is not "
        "there yet: start 4 ranks or set parallel.pipeline_model_parallel_size to 8");
}

TEST_CASE("kinds of parallelism that are not there are refused by name") {
  CHECK(validate_error({"parallel.tensor_model_parallel_size=2"}) ==
        "parallel.tensor_model_parallel_size = 2: tensor parallelism is not there yet, use 1");
  CHECK(validate_error({"parallel.context_parallel_size=2"}) ==
        "parallel.context_parallel_size = 2: context parallelism is not there yet, use 1");
  CHECK(validate_error({"parallel.virtual_pipeline_model_parallel_size=2"}) ==
        "parallel.virtual_pipeline_model_parallel_size (2) must be 1 with schedule.name seq1f1b; "
        "schedules with several stages per rank are interleaved, seq1f1b-i");
}

TEST_CASE("the global batch is a whole number of micro-batches") {
  CHECK(validate_error({"training.global_batch_size=10", "training.micro_batch_size=4"}) ==
        "training.global_batch_size (10) must be training.micro_batch_size (4) * dp (1) * a whole "
        "number of micro-batches: use 8 or 12");
  CHECK(validate_error({"training.global_batch_size=3", "training.micro_batch_size=4"})
            .ends_with("use 4"));
}

TEST_CASE("layers, heads and widths fit together") {
  CHECK(validate_error({"model.num_layers=3", "parallel.pipeline_model_parallel_size=4"}) ==
        "model.num_layers (3) must be at least pp (4) * vpp (1) = 4, a layer for every stage: use "
        "4 layers or more, or pp 3 or less");
  CHECK(validate_error({"model.num_layers=5", "parallel.pipeline_model_parallel_size=4"}) ==
        "no error");
  CHECK(validate_error({"model.hidden_size=100"}) ==
        "model.hidden_size (100) must be a multiple of model.num_attention_heads (12): use 96 or "
        "108, or set model.kv_channels");
  CHECK(validate_error({"model.hidden_size=100", "model.kv_channels=10"}) == "no error");
  CHECK(validate_error({"model.num_query_groups=5"}) ==
        "model.num_attention_heads (12) must be a multiple of model.num_query_groups (5): use 4 "
        "or 6 groups");
  CHECK(validate_error({"model.num_query_groups=13"}).ends_with("use 12 groups"));
}

TEST_CASE("heads are no wider than attention takes, given or derived") {
  CHECK(validate_error({"model.kv_channels=256"}) == "no error");
  CHECK(validate_error({"model.hidden_size=4096", "model.num_attention_heads=8"}) ==
        "model.kv_channels: must be 0 to 256, not 512");
}

TEST_CASE("sizes beyond use are refused before anything is made of them") {
  CHECK(validate_error({"model.num_layers=2147483647"}) ==
        "command line: model.num_layers=2147483647: model.num_layers: must be 1 to 65536, not "
        "2147483647");
  CHECK(validate_error({"runtime.threads=100000"}) != "no error");
  CHECK(validate_error({"runtime.deadline_seconds=1e300"}) != "no error");
  CHECK(validate_error({"runtime.grace_seconds=1e300"}) != "no error");
}

TEST_CASE("a prefix of token files is not empty") {
  Config config = resolved({"data.train=[]"}).config;
  CHECK_NOTHROW(validate(config, 0));
  config.data.train = {"a", ""};
  CHECK(config_error([&] { validate(config, 0); }) ==
        "data.train holds an empty prefix: name .bin/.idx pairs, or [] for none");
}

TEST_CASE("positions reach as far as the sequence") {
  CHECK(validate_error({"model.max_position_embeddings=1000"}) ==
        "model.max_position_embeddings (1000) must be at least training.seq_length (1024) with "
        "learned positions; 0 takes the sequence length");
  CHECK(validate_error({"model.max_position_embeddings=1024"}) == "no error");
  CHECK(validate_error({"model.family=llama", "model.max_position_embeddings=1024"}) ==
        "model.max_position_embeddings (1024) has no meaning with rotary positions: remove it");
  CHECK(validate_error({"model.family=llama", "model.rotary_percent=0.25"}) == "no error");
  CHECK(validate_error({"model.family=llama", "model.kv_channels=65"}) ==
        "rotary positions turn pairs: model.kv_channels (65) * model.rotary_percent (1) = 65 must "
        "be an even number of dimensions, 2 or more");
  CHECK(validate_error({"model.family=llama", "model.rotary_percent=0.01"}) != "no error");
}

TEST_CASE("segments fit the schedule and the sequence") {
  CHECK(validate_error({"schedule.name=1f1b", "schedule.segments=4"}) ==
        "schedule.segments (4) must be 1 with schedule.name 1f1b, which has whole sequences; with "
        "segments it is called seq1f1b");
  CHECK(validate_error({"schedule.name=gpipe", "schedule.segments=2"}).ends_with("terapipe"));
  CHECK(validate_error({"training.seq_length=3"}) ==
        "training.seq_length (3) must be at least (schedule.segments (4) - 1) * schedule.alignment "
        "(1) + 1 = 4: use at most 3 segments");
  CHECK(validate_error({"training.seq_length=192", "schedule.alignment=64"}) ==
        "training.seq_length (192) must be at least (schedule.segments (4) - 1) * "
        "schedule.alignment (64) + 1 = 193: use at most 3 segments");
  CHECK(validate_error({"training.seq_length=193", "schedule.alignment=64"}) == "no error");
}

TEST_CASE("explicit lengths add up and keep the alignment") {
  CHECK(validate_error({"schedule.partition=[500,524]"}) == "no error");
  CHECK(validate_error({"schedule.partition=[500,512]"}) ==
        "schedule.segment_lengths must add up to training.seq_length (1024): the sum is 1012, 12 "
        "less");
  CHECK(validate_error({"schedule.partition=[500,525]"}).ends_with("the sum is 1025, 1 more"));
  CHECK(validate_error({"schedule.partition=[500,524]", "schedule.segments=3"}) ==
        "schedule.segment_lengths has 2 lengths, but schedule.segments is 3");
  CHECK(validate_error({"schedule.partition=[500,524]", "schedule.alignment=8"}) ==
        "schedule.segment_lengths: the length 524 of segment 1 (counted from 0) must be a multiple "
        "of schedule.alignment (8), as for all but the first: use 520 or 528");
  CHECK(validate_error({"schedule.partition=lengths"}) ==
        "schedule.partition lengths needs schedule.segment_lengths, or write partition: [a, b, "
        "...]");
  CHECK(validate_error({"schedule.segment_lengths=[500,524]"}) ==
        "schedule.segment_lengths goes with schedule.partition lengths, not flops: remove one of "
        "them");
}

TEST_CASE("the learning rate has a sound course") {
  CHECK(validate_error({"optimizer.lr_warmup_iters=101"}) ==
        "optimizer.lr_warmup_iters (101) must be at most training.train_iters (100)");
  CHECK(validate_error({"optimizer.lr_warmup_iters=60", "optimizer.lr_decay_iters=50"}) ==
        "optimizer.lr_warmup_iters (60) must be at most optimizer.lr_decay_iters (50)");
  CHECK(validate_error({"optimizer.min_lr=0.5"}) ==
        "optimizer.min_lr (0.5) must be at most optimizer.lr (0.0003)");
}

TEST_CASE("numbers are what the device makes of them") {
  CHECK(validate_error({"optimizer.adam_eps=1e-46"}) ==
        "optimizer.adam_eps (1e-46) is 0 in fp32, in which the run computes: use 1.17549e-38 or "
        "more");
  CHECK(validate_error({"optimizer.weight_decay=1e-300"}).ends_with("or more, or 0"));
  CHECK(validate_error({"optimizer.weight_decay=1e39"}) ==
        "optimizer.weight_decay (1e+39) is infinite in fp32, in which the run computes: use at "
        "most 3.40282e+38");
  for (const char* key :
       {"model.norm_epsilon", "model.rotary_base", "model.init_method_std", "model.rotary_percent",
        "optimizer.lr", "optimizer.adam_eps", "optimizer.clip_grad"}) {
    CAPTURE(key);
    const std::string tiny = std::string(key) + "=1e-46";  // which fp32 takes for 0
    const std::vector<std::string> overrides{"optimizer.min_lr=0", "model.family=llama", tiny};
    CHECK(validate_error(overrides).find(std::string(key) + " (1e-46) is 0 in fp32") !=
          std::string::npos);
  }
  for (const char* key : {"model.norm_epsilon", "model.rotary_base", "model.init_method_std",
                          "optimizer.adam_eps", "optimizer.clip_grad"}) {
    CAPTURE(key);
    CHECK(validate_error({std::string(key) + "=1e39"}).find("is infinite in fp32") !=
          std::string::npos);
  }
  // fp64 holds all of them; fp32 on the device for fp64 does not.
  CHECK(validate_error({"optimizer.adam_eps=1e-46", "runtime.device=reference"}) == "no error");
  CHECK(validate_error({"optimizer.adam_eps=1e-46", "runtime.device=reference",
                        "runtime.compute_dtype=bf16"}) != "no error");
  CHECK(validate_error({"optimizer.adam_eps=1e-37"}) == "no error");
}

TEST_CASE("the split has three shares") {
  for (const char* split : {"1", "9,1", "9,1,", "9,1,0,0", "1 2 3", "1;2;3", "nan,1,1", "inf,1,1",
                            "9,1,1 x", "9,x,1", "9,-1,1", "0,1,1", ",1,1"}) {
    CAPTURE(split);
    CHECK(validate_error({concat("data.split=", split)}).find("must be three shares") !=
          std::string::npos);
  }
  for (const char* split : {"949,50,1", "1,0,0", "0.9, 0.1, 0"}) {
    CAPTURE(split);
    CHECK(validate_error({concat("data.split=", split)}) == "no error");
  }
}

TEST_CASE("a prefix is named once, however it is spelled") {
  CHECK(validate_error({"data.train=[a,b,./a]"}) ==
        "data.train names a twice (as ./a): its documents would be in training and in validation");
  CHECK(validate_error({"data.train=[d/../a,a]"}).find("names d/../a twice (as a)") !=
        std::string::npos);
  CHECK(validate_error({"data.train=[a,a]"}).find("names a twice: ") != std::string::npos);
  CHECK(validate_error({"data.train=[a,b,d/a]"}) == "no error");
}

TEST_CASE("a path that a shell should have replaced is refused, whatever it names") {
  for (const char* key :
       {"data.train", "data.tokenizer", "checkpoint.directory", "checkpoint.resume"}) {
    CHECK(validate_error({concat(key, "=~/x")}).find(concat(key, ": '~/x' begins with ~")) == 0);
    CHECK(validate_error({concat(key, "=/a/${B}")}).find(concat(key, ": '/a/${B}' holds ${B}")) ==
          0);
    CHECK(validate_error({concat(key, "=./~/x")}) == "no error");
  }
  CHECK(validate_error({"data.train=[a,$B/c]"}).find("data.train: '$B/c' holds $B") == 0);
}

TEST_CASE("the data type is one that the device computes in") {
  CHECK(validate_error({"runtime.compute_dtype=bf16", "runtime.device=cpu"}) ==
        "runtime.compute_dtype bf16 does not go with runtime.device cpu, which computes in fp32: "
        "use fp32 or auto");
  CHECK(
      validate_error({"runtime.compute_dtype=fp64"}) ==
      "runtime.compute_dtype fp64 does not go with runtime.device auto, which computes in fp32 or "
      "bf16: use fp32, bf16 or auto");
  CHECK(
      validate_error({"runtime.compute_dtype=fp64", "runtime.device=cuda"}) ==
      "runtime.compute_dtype fp64 does not go with runtime.device cuda, which computes in bf16 or "
      "fp32: use bf16, fp32 or auto");
  CHECK(validate_error({"runtime.compute_dtype=bf16"}) == "no error");
  CHECK(validate_error({"runtime.compute_dtype=fp64", "runtime.device=reference"}) == "no error");
  CHECK(validate_error({"runtime.compute_dtype=fp32", "runtime.device=cpu"}) == "no error");
  for (const char* dtype : {"fp32", "bf16", "auto"})
    CHECK(validate_error({concat("runtime.compute_dtype=", dtype), "runtime.device=reference"}) ==
          "no error");
}

TEST_CASE("what only a GPU offers is refused elsewhere, unless it is left as it is") {
  for (const char* key : {"attention=own", "deterministic=true", "cuda_graphs=true"})
    CHECK(validate_error({concat("runtime.", key), "runtime.device=cpu"}) == "no error");
  for (const char* key :
       {"attention=cudnn", "attention=auto", "deterministic=false", "cuda_graphs=false"})
    for (const char* device : {"auto", "cuda"})
      CHECK(validate_error({concat("runtime.", key), concat("runtime.device=", device)}) ==
            "no error");
  CHECK(validate_error({"runtime.attention=cudnn", "runtime.device=cpu"}) ==
        "runtime.attention cudnn needs runtime.device cuda, not cpu: remove it");
  CHECK(validate_error({"runtime.deterministic=false", "runtime.device=reference"}) ==
        "runtime.deterministic false needs runtime.device cuda, not reference: remove it");
  CHECK(validate_error({"runtime.cuda_graphs=false", "runtime.device=cpu"}) ==
        "runtime.cuda_graphs false needs runtime.device cuda, not cpu: remove it");
  // auto takes what there is, anywhere.
  for (const char* device : {"cpu", "reference"})
    CHECK(validate_error({"runtime.attention=auto", concat("runtime.device=", device)}) ==
          "no error");
  CHECK(validate_error({"runtime.attention=auto", "runtime.compute_dtype=fp32"}) == "no error");
  CHECK(validate_error({"runtime.attention=cudnn", "runtime.compute_dtype=fp32"}) ==
        "runtime.attention cudnn computes in bf16 only: use own, or runtime.compute_dtype bf16");
  CHECK(validate_error({"runtime.attention=cudnn", "model.kv_channels=36"}) ==
        "runtime.attention cudnn needs model.kv_channels (36) to be a multiple of 8: use 32 or 40, "
        "or runtime.attention own");
  CHECK(validate_error({"runtime.attention=own", "model.kv_channels=36"}) == "no error");
}

TEST_CASE("values set in code are checked like those of files, and equations only when they hold") {
  Config config = resolved({}).config;
  config.training.micro_batch_size = 0;
  config.schedule.name = "pipedream";
  CHECK(config_error([&] { validate(config, 0); }) ==
        "the configuration has 2 problems:\n"
        "  schedule.name: must be gpipe | 1f1b | terapipe | seq1f1b | interleaved | seq1f1b-i | "
        "zb-h1 | seq1f1b-zb, not pipedream\n"
        "  training.micro_batch_size: must be 1 or more, not 0");
}

TEST_CASE("all failing equations are reported together") {
  CHECK(validate_error({"model.hidden_size=100", "training.global_batch_size=9",
                        "training.micro_batch_size=2", "optimizer.lr_warmup_iters=101"},
                       3) ==
        "the configuration has 4 problems:\n"
        "  model.hidden_size (100) must be a multiple of model.num_attention_heads (12): use 96 or "
        "108, or set model.kv_channels\n"
        "  world size 3 = tp (1) * cp (1) * pp (1) * dp gives dp = 3, but data parallelism is not "
        "there yet: start 1 rank or set parallel.pipeline_model_parallel_size to 3\n"
        "  training.global_batch_size (9) must be training.micro_batch_size (2) * dp (1) * a whole "
        "number of micro-batches: use 8 or 10\n"
        "  optimizer.lr_warmup_iters (101) must be at most training.train_iters (100)");
}
