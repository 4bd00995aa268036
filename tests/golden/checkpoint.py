"""Reads a checkpoint, as docs/checkpoint.md describes it. Checksums are not verified: that needs a package for XXH3."""

import json
import os

import numpy


def scalar(text):
    text = text.strip()
    if text.startswith("["):
        return [scalar(item) for item in text[1:-1].split(",") if item.strip()]
    if text.startswith('"'):
        return json.loads(text)
    if text in ("true", "false"):
        return text == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def read_configuration(path):
    """config.resolved.yaml: sections, and below them one indented `key: value` a line. No YAML beyond that."""
    sections = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.lstrip().startswith("#"):
                continue
            key, _, value = line.split("  #")[0].rstrip().partition(":")
            if not line.startswith(" "):
                section = sections[key] = {}
            else:
                section[key.strip()] = scalar(value)
    return sections


def read(folder):
    """index.json, and name to array for every tensor."""
    with open(os.path.join(folder, "index.json"), encoding="utf-8") as file:
        index = json.load(file)
    if index["format"] != "seq1f1b checkpoint" or index["version"] != 2:
        raise SystemExit(f"{folder}: not a checkpoint of version 2")
    tensors = {}
    for entry in index["tensors"]:
        dtype = numpy.dtype({"F32": "<f4", "F64": "<f8"}[entry["dtype"]])
        whole = numpy.empty(entry["shape"], dtype)
        for part in entry["parts"]:
            count = int(numpy.prod(part["shape"]))
            box = numpy.fromfile(os.path.join(folder, part["file"]), dtype, count, offset=part["begin"])
            place = tuple(slice(o, o + n) for o, n in zip(part["offset"], part["shape"]))
            whole[place] = box.reshape(part["shape"])
        tensors[entry["name"]] = whole.astype(numpy.float64)
    return index, tensors
