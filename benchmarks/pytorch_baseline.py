#!/usr/bin/env python3
"""What PyTorch reaches on this GPU, for scripts/gpu_check.sh: fused attention by its own back ends,
and compiled GPT training steps of the shapes that seq1f1b is timed on.

    python3 benchmarks/pytorch_baseline.py attention
    python3 benchmarks/pytorch_baseline.py gpt --hidden 768 --layers 12 --heads 12 --tokens 1024 \
        --micro-batch 16 --micro-batches 2 --steps 12

One line per figure, tab-separated: name, value, unit. FLOPs are counted as in cuda_kernels.cpp.
"""
import argparse
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


def report(name, value, unit):
    print(f"{name}\t{value:.4g}\t{unit}", flush=True)


def seconds(call, repeats=20):
    for _ in range(3):
        call()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(repeats):
        call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3 / repeats


def attention():
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backends = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
    for head_dim, heads in ((128, 32), (64, 64)):
        for tokens in (2048, 4096, 8192, 16384):
            query, key, value = (
                torch.randn(1, heads, tokens, head_dim, device="cuda", dtype=torch.bfloat16,
                            requires_grad=True) for _ in range(3))
            grad = torch.randn_like(query)
            unit = 1e-12 * heads * tokens * (tokens + 1) / 2 * head_dim
            for name, backend in backends.items():
                label = f"pytorch.{name}.attention.d{head_dim}.h{heads}.t{tokens}"
                try:
                    with sdpa_kernel(backend):
                        run = lambda: F.scaled_dot_product_attention(query, key, value,
                                                                     is_causal=True)
                        with torch.no_grad():
                            report(label + ".forward", 4 * unit / seconds(run), "TFLOP/s")
                        output = run()
                        report(label + ".backward", 10 * unit / seconds(
                            lambda: output.backward(grad, retain_graph=True)), "TFLOP/s")
                except RuntimeError as error:
                    print(f"{label}: {str(error).splitlines()[0]}", file=sys.stderr)


class Block(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.qkv, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.up, self.down = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)

    def forward(self, x):
        batch, tokens, hidden = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(
            batch, tokens, 3, self.heads, hidden // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, hidden))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocab, tokens, hidden, layers, heads):
        super().__init__()
        self.token, self.position = nn.Embedding(vocab, hidden), nn.Embedding(tokens, hidden)
        self.blocks = nn.ModuleList(Block(hidden, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, labels):
        x = self.token(tokens) + self.position(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.token.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


def gpt(options):
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    model = Gpt(options.vocab, options.tokens, options.hidden, options.layers, options.heads).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1,
                                  fused=True)
    compiled = torch.compile(model)
    batch = torch.randint(options.vocab, (options.micro_batches, options.micro_batch,
                                          options.tokens + 1), device="cuda")

    def step():
        for part in batch:
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = compiled(part[:, :-1], part[:, 1:]) / options.micro_batches
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    times = []
    for _ in range(options.steps):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    count = options.micro_batches * options.micro_batch * options.tokens
    report(f"pytorch.gpt.h{options.hidden}.l{options.layers}.t{options.tokens}",
           count / statistics.median(times[3:]), "tokens/s")


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("attention")
    sizes = commands.add_parser("gpt")
    for name, default in (("hidden", 768), ("layers", 12), ("heads", 12), ("tokens", 1024),
                          ("vocab", 50304), ("micro-batch", 16), ("micro-batches", 2),
                          ("steps", 12)):
        sizes.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("pytorch_baseline: no GPU")
    report_versions = f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN "
    print(f"versions\t{report_versions}{torch.backends.cudnn.version()}", flush=True)
    attention() if options.command == "attention" else gpt(options)


if __name__ == "__main__":
    main()
