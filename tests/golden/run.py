"""Steps and evaluations of a run, as docs/numerics.md and docs/data.md describe them."""

import math

import numpy

import data
import model as models

# What `seq1f1b --help-config` lists, as far as it changes a number.
DEFAULTS = {
    "model": {
        "family": "gpt3", "num_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "num_query_groups": 0,
        "kv_channels": 0, "ffn_hidden_size": 0, "vocab_size": 0, "max_position_embeddings": 0, "norm_epsilon": 1e-5,
        "rotary_base": 10000.0, "rotary_percent": 1.0, "init_method_std": 0.02,
    },
    "training": {
        "seq_length": 1024, "micro_batch_size": 1, "global_batch_size": 8, "train_iters": 100, "seed": 1234,
        "eval_interval": 0, "eval_iters": 8,
    },
    "optimizer": {
        "lr": 3e-4, "min_lr": 3e-5, "lr_decay_style": "cosine", "lr_warmup_iters": 0, "lr_decay_iters": 0,
        "weight_decay": 0.1, "adam_beta1": 0.9, "adam_beta2": 0.95, "adam_eps": 1e-8, "clip_grad": 1.0,
    },
    "data": {"train": [], "split": "949,50,1", "tokenizer": ""},
}  # fmt: skip


def learning_rate(step, o, train_iters):
    lr, low, warmup, end = o["lr"], o["min_lr"], o["lr_warmup_iters"], o["lr_decay_iters"] or train_iters
    if step < warmup:
        return lr * step / warmup
    if step == warmup or o["lr_decay_style"] == "constant":
        return lr
    if step >= end:
        return low
    fraction = (step - warmup) / (end - warmup)
    falling = (1 + math.cos(math.pi * fraction)) / 2 if o["lr_decay_style"] == "cosine" else 1 - fraction
    return low + (lr - low) * falling


class Run:
    """documents: lists of tokens; separator: the text that the end of a document stands for."""

    def __init__(self, config, documents, separator, keep=models.exact):
        self.config = {section: {**values, **config.get(section, {})} for section, values in DEFAULTS.items()}
        self.training = self.config["training"]
        self.optimizer = self.config["optimizer"]
        seq_length = self.training["seq_length"]
        self.model = models.resolve(self.config["model"], seq_length, data.BYTES_VOCABULARY)
        self.samples = data.Samples(documents, self.config["data"]["split"], self.training["seed"], seq_length)
        self.separator = separator
        self.keep = keep
        self.weights = {n: keep(w) for n, w in models.initial(self.model, self.training["seed"]).items()}
        self.moments = {n: (numpy.zeros_like(w), numpy.zeros_like(w)) for n, w in self.weights.items()}
        self.step = 0
        self.consumed_samples = 0

    def train_step(self):
        """One optimizer step; returns what it read and computed."""
        batch, micro = self.training["global_batch_size"], self.training["micro_batch_size"]
        numbers = range(self.consumed_samples, self.consumed_samples + batch)
        windows = [self.samples.sample(number) for number in numbers]
        network = models.Model(self.model, self.weights, self.keep)
        network.gradients = {name: numpy.zeros_like(w) for name, w in self.weights.items()}
        labels = batch * self.training["seq_length"]
        loss = 0.0
        for first in range(0, batch, micro):
            loss += network.losses(windows[first : first + micro], 1 / labels).sum()
        norm = math.sqrt(sum(float((g**2).sum()) for g in network.gradients.values()))

        o = self.optimizer
        self.step += 1
        self.consumed_samples += batch
        lr = learning_rate(self.step, o, self.training["train_iters"])
        factor = o["clip_grad"] / norm if o["clip_grad"] > 0 and norm > o["clip_grad"] else 1.0
        for name, weight in self.weights.items():
            g = self.keep(network.gradients[name] * factor)
            m, v = self.moments[name]
            m = self.keep(o["adam_beta1"] * m + (1 - o["adam_beta1"]) * g)
            v = self.keep(o["adam_beta2"] * v + (1 - o["adam_beta2"]) * g**2)
            m_corrected = m / (1 - o["adam_beta1"] ** self.step)
            v_corrected = v / (1 - o["adam_beta2"] ** self.step)
            decay = o["weight_decay"] if weight.ndim == 2 else 0.0
            self.weights[name] = self.keep(
                weight - lr * (m_corrected / (numpy.sqrt(v_corrected) + o["adam_eps"]) + decay * weight)
            )
            self.moments[name] = (m, v)
        return {
            "step": self.step,
            "loss": loss / labels,
            "grad_norm": norm,
            "learning_rate": lr,
            "consumed_samples": self.consumed_samples,
            "clipped": factor != 1.0,
            "samples": windows,
        }

    def evaluate(self):
        share = self.samples.validation
        batch, iterations = self.training["global_batch_size"], self.training["eval_iters"]
        count = min(share.windows, iterations * batch) if iterations else share.windows
        network = models.Model(self.model, self.weights, self.keep)
        total = 0.0
        read = 0
        text_bytes = 0
        for w in range(count):
            window = share.window(w)
            total += float(network.losses([window]).sum())
            read += len(window) - 1
            text_bytes += sum(len(self.separator) if t == data.END_OF_DOCUMENT else 1 for t in window[1:])
        return {
            "validation_loss": total / read,
            "validation_bits_per_byte": total / math.log(2) / text_bytes,
            "validation_tokens": read,
        }

    def evaluation_is_due(self):
        interval = self.training["eval_interval"]
        return self.step == self.training["train_iters"] or (interval > 0 and self.step % interval == 0)
