#!/usr/bin/env python3
"""Computes ten training steps, their samples and evaluations in fp64, and nothing of it with this project's code.

Written from README.md, docs/ and `seq1f1b --help-config` alone, with plain NumPy and gradients by hand, so that what
both programs agree on is what the documents say. The tests need only the files that this leaves in values/.

    make_golden.py                           write values/*.json
    make_golden.py --check                   compute again, compare with values/*.json
    make_golden.py --prepared FOLDER         compare the token files in FOLDER, written by `seq1f1b prepare`, too
    make_golden.py --continue CHECKPOINT     read a checkpoint, do ten more steps (--steps N), and compare with what
                                             seq1f1b did: metrics.jsonl and the checkpoint of the last of these steps
"""

import argparse
import json
import math
import os
import platform
import sys

import numpy

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import checkpoint  # noqa: E402
import data  # noqa: E402
import model as models  # noqa: E402
import run as runs  # noqa: E402

CASES = ("gpt3", "llama", "mixed")
# prefix to (text, the text between documents): seq1f1b prepare TEXT --output PREFIX --document-separator SEPARATOR
PREPARED = {
    "lines": ("corpus.txt", "\n"),
    "more": ("more.txt", "\n"),
    "paragraphs": ("corpus.txt", "\n\n"),
}
# Two programs in fp64, relative to the value, or to the norm of a tensor. See README.md.
TOLERANCE = 1e-12


def documents_of(prefix):
    name, separator = PREPARED[prefix]
    with open(os.path.join(HERE, name), "rb") as file:
        return data.documents_of_text(file.read(), separator.encode())


def text_bytes(text):
    return len(text.encode())


# Golden values


def is_zero(name, model):
    """Without rotary positions a key's bias adds the same to all scores of a row, which softmax does not see: its
    gradient is 0, and what programs compute for it is rounding alone."""
    return ".attention.key.bias" in name and model["position_embedding"] != "rotary"


def summary(tensor):
    """Sum, root of the sum of squares, sum of x(i) * cos(i), first element; row-major. No sign, scale, permutation
    or exchange of tensors leaves all four alone."""
    flat = tensor.reshape(-1)
    return [
        math.fsum(flat),
        math.sqrt(math.fsum(flat**2)),
        math.fsum(flat * numpy.cos(numpy.arange(flat.size, dtype=numpy.float64))),
        float(flat[0]),
    ]


def state_of(run):
    """Name to array, weights and moments, as a checkpoint names them."""
    state = {}
    for name, weight in run.weights.items():
        state[name] = weight
        state[name + ".exp_avg"], state[name + ".exp_avg_sq"] = run.moments[name]
    return state


def train(config, keep=models.exact):
    prefixes = config["data"]["train"]
    documents = [document for prefix in prefixes for document in documents_of(prefix)]
    run = runs.Run(config, documents, PREPARED[prefixes[0]][1].encode(), keep)
    steps, evaluations, clipped = [], [], []
    for _ in range(run.training["train_iters"]):
        step = run.train_step()
        clipped.append(step.pop("clipped"))
        steps.append(step)
        if run.evaluation_is_due():
            evaluations.append({"step": run.step, **run.evaluate()})
    return run, steps, evaluations, clipped


def deviation(a, b):
    return float(numpy.linalg.norm(a - b))


def fp32_deviations(run, steps, evaluations, config):
    """How far the same run is off when whatever is stored is rounded to fp32: the scale of the bounds for fp32."""
    rough, rough_steps, rough_evaluations, _ = train(config, models.as_fp32)
    state, rough_state = state_of(run), state_of(rough)
    result = {
        "loss": max(abs(a["loss"] - b["loss"]) for a, b in zip(steps, rough_steps)),
        "grad_norm": max(abs(a["grad_norm"] - b["grad_norm"]) for a, b in zip(steps, rough_steps)),
        "validation_loss": max(
            abs(a["validation_loss"] - b["validation_loss"]) for a, b in zip(evaluations, rough_evaluations)
        ),
        "tensors": {name: deviation(state[name], rough_state[name]) for name in state},
    }
    return json.loads(json.dumps(result), parse_float=lambda text: float(f"{float(text):.2g}"))


def compute(case):
    with open(os.path.join(HERE, "cases", case + ".json"), encoding="utf-8") as file:
        config = json.load(file)
    run, steps, evaluations, clipped = train(config)
    if config["optimizer"]["clip_grad"] > 0 and len(set(clipped)) == 1:
        raise SystemExit(f"{case}: clipping should be active in some steps and not in others: {clipped}")
    share = run.samples.validation
    return {
        "steps": steps,
        "evaluations": evaluations,
        "training_windows": run.samples.training.windows,
        "validation_windows": [share.window(w) for w in range(share.windows)],
        "tensors": {
            name: {"size": tensor.size, "summary": [0.0] * 4 if is_zero(name, run.model) else summary(tensor)}
            for name, tensor in state_of(run).items()
        },
        "fp32_deviation": fp32_deviations(run, steps, evaluations, config),
    }


def compute_files():
    result = {}
    for prefix, (name, separator) in PREPARED.items():
        documents = documents_of(prefix)
        binary, index = data.token_files(documents)
        result[prefix] = {
            "text": name,
            "separator": separator.replace("\n", "\\n"),
            "documents": len(documents),
            "tokens": sum(map(len, documents)),
            "bin_fnv1a": f"{data.fnv1a(binary):016x}",
            "idx_fnv1a": f"{data.fnv1a(index):016x}",
        }
    return result


def layout(value, depth=0, name=""):
    """JSON with a line for each step, sample and tensor."""
    if isinstance(value, dict) and (depth < 1 or name in ("tensors", "fp32_deviation", "prepared", "steps")):
        items = [f"{' ' * (depth + 1)}{json.dumps(k)}: {layout(v, depth + 1, k)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + " " * depth + "}"
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        items = [" " * (depth + 1) + layout(v, depth + 1) for v in value]
        return "[\n" + ",\n".join(items) + "\n" + " " * depth + "]"
    if isinstance(value, dict) and any(isinstance(v, list) for v in value.values()):
        items = [f"{json.dumps(k)}: {layout(v, depth + 1, k)}" for k, v in value.items()]
        return "{" + ", ".join(items) + "}"
    return json.dumps(value)


def path_of(case):
    return os.path.join(HERE, "values", case + ".json")


def write():
    about = {
        "command": "python3 tests/golden/make_golden.py",
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "machine": platform.machine(),
    }
    results = {case: compute(case) for case in CASES}
    results["prepared"] = {"prepared": compute_files()}
    for name, result in results.items():
        with open(path_of(name), "w", encoding="utf-8") as file:
            file.write(layout({"about": about, **result}) + "\n")
        print(f"wrote {os.path.relpath(path_of(name))}")


def differences(stored, computed, where, tolerance):
    if isinstance(stored, dict) and isinstance(computed, dict) and stored.keys() == computed.keys():
        for key in stored:
            yield from differences(stored[key], computed[key], f"{where}: {key}", tolerance)
    elif isinstance(stored, list) and isinstance(computed, list) and len(stored) == len(computed):
        for i, (a, b) in enumerate(zip(stored, computed)):
            yield from differences(a, b, f"{where}[{i}]", tolerance)
    elif isinstance(stored, float) and isinstance(computed, float):
        if not abs(stored - computed) <= tolerance * abs(stored):
            yield f"{where}: stored {stored!r}, computed {computed!r}"
    elif stored != computed:
        yield f"{where}: stored {stored!r}, computed {computed!r}"


def summary_differences(stored, computed, where):
    norm, root = stored["summary"][1], math.sqrt(stored["size"])
    for i, scale in enumerate((root * norm, norm, root * norm, norm)):
        a, b = stored["summary"][i], computed["summary"][i]
        if not abs(a - b) <= TOLERANCE * scale:
            yield f"{where}: summary[{i}]: stored {a!r}, computed {b!r}"


def check():
    found = []
    for case in CASES:
        with open(path_of(case), encoding="utf-8") as file:
            stored = json.load(file)
        stored.pop("about")
        computed = compute(case)
        # Rounding errors are no golden values; their size is.
        rough_stored, rough = stored.pop("fp32_deviation"), computed.pop("fp32_deviation")
        for name, value in rough_stored["tensors"].items():
            if not value / 4 <= rough["tensors"][name] <= value * 4:
                found.append(f"{case}: fp32_deviation of {name}: stored {value:.2e}, computed {rough['tensors'][name]:.2e}")
        tensors_stored, tensors = stored.pop("tensors"), computed.pop("tensors")
        if tensors_stored.keys() != tensors.keys():
            raise SystemExit(f"{case}: other tensors: {sorted(tensors_stored.keys() ^ tensors.keys())}")
        for name, value in tensors_stored.items():
            found += summary_differences(value, tensors[name], f"{case}: {name}")
        found += differences(stored, computed, case, TOLERANCE)
    with open(path_of("prepared"), encoding="utf-8") as file:
        found += differences(json.load(file)["prepared"], compute_files(), "prepared", 0)
    report(found, "the values computed now are those of values/")


def check_prepared(folder):
    found = []
    for prefix in PREPARED:
        documents = documents_of(prefix)
        stem = os.path.join(folder, prefix)
        if data.read_token_files(stem) != documents:
            found.append(f"{stem}: other documents than those of the text")
        for suffix, content in zip((".bin", ".idx"), data.token_files(documents)):
            with open(stem + suffix, "rb") as file:
                if file.read() != content:
                    found.append(f"{stem}{suffix}: other bytes than docs/data.md says")
    report(found, f"the token files in {folder} are those that docs/data.md describes")


def report(found, success):
    for line in found:
        print(line)
    if found:
        raise SystemExit(f"{len(found)} differences")
    print(success)


# A run of seq1f1b, continued


def continue_run(folder, steps, tolerance):
    index, tensors = checkpoint.read(folder)
    config = checkpoint.read_configuration(os.path.join(folder, "config.resolved.yaml"))
    config["model"].update(index["model"])
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as file:
        tokenizer = json.load(file)
    if tokenizer["kind"] != "bytes":
        raise SystemExit(f"{folder}: the tokenizer is {tokenizer['kind']}; this program knows bytes only")
    documents = [document for prefix in config["data"]["train"] for document in data.read_token_files(prefix)]
    run = runs.Run(config, documents, tokenizer["document_separator"].encode())
    run.step, run.consumed_samples = index["step"], index["consumed_samples"]
    for name in run.weights:
        run.weights[name] = tensors.pop(name)
        run.moments[name] = (tensors.pop(name + ".exp_avg"), tensors.pop(name + ".exp_avg_sq"))
    if tensors:
        raise SystemExit(f"{folder}: tensors of no parameter: {sorted(tensors)}")

    root = os.path.dirname(os.path.dirname(os.path.abspath(folder)))
    theirs, evaluations = {}, {}
    with open(os.path.join(root, "metrics.jsonl"), encoding="utf-8") as file:
        for line in map(json.loads, file):
            if "event" not in line:
                theirs[line["step"]] = line
            elif line["event"] == "evaluation":
                evaluations[line["step"]] = line["evaluation"]
    worst = 0.0

    def compare(what, ours, other):
        nonlocal worst
        off = abs(ours - other) / abs(other)
        worst = max(worst, off)
        print(f"{what:34} {ours:.16g} {other:.16g}  relative {off:.1e}")

    for _ in range(steps):
        step = run.train_step()
        other = theirs.get(step["step"])
        if other is None:
            raise SystemExit(f"{root}/metrics.jsonl has no step {step['step']} to compare with")
        if step["consumed_samples"] != other["consumed_samples"]:
            raise SystemExit(f"step {run.step}: {step['consumed_samples']} consumed samples, not {other['consumed_samples']}")
        for field in ("loss", "grad_norm", "learning_rate"):
            compare(f"step {run.step}: {field}", step[field], other[field])
        if run.evaluation_is_due():
            for field, value in run.evaluate().items():
                compare(f"step {run.step}: {field}", value, evaluations[run.step][field])
    last = os.path.join(root, "checkpoints", f"step_{run.step:08d}")
    _, tensors = checkpoint.read(last)
    for name, tensor in state_of(run).items():
        off, norm = deviation(tensor, tensors[name]), float(numpy.linalg.norm(tensor))
        worst = max(worst, off if is_zero(name, run.model) else off / norm)
    print(f"{len(tensors)} tensors of {last} compared; the largest relative difference of all is {worst:.1e}")
    if worst > tolerance:
        raise SystemExit(f"more than {tolerance:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--prepared", metavar="FOLDER")
    parser.add_argument("--continue", metavar="CHECKPOINT", dest="checkpoint")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    arguments = parser.parse_args()
    if arguments.prepared:
        check_prepared(arguments.prepared)
    if arguments.checkpoint:
        continue_run(arguments.checkpoint, arguments.steps, arguments.tolerance)
    if arguments.check:
        check()
    elif not arguments.prepared and not arguments.checkpoint:
        write()


if __name__ == "__main__":
    main()
