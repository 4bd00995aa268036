"""Initial weights, the model, its loss and its gradients, as docs/numerics.md describes them."""

import numpy

import data


def resolve(model, seq_length, vocab_size):
    """Fills the preset of the family and the zeros that stand for a derived size."""
    llama = model["family"] == "llama"
    preset = {
        "normalization": "rmsnorm" if llama else "layernorm",
        "position_embedding": "rotary" if llama else "learned",
        "activation": "swiglu" if llama else "gelu",
        "add_bias_linear": not llama,
        "tie_embeddings": not llama,
    }
    model = {**preset, **model}
    hidden = model["hidden_size"]
    derived = {
        "num_query_groups": model["num_attention_heads"],
        "kv_channels": hidden // model["num_attention_heads"],
        "ffn_hidden_size": -(-8 * hidden // (3 * 64)) * 64 if model["activation"] == "swiglu" else 4 * hidden,
        "vocab_size": vocab_size,
        "max_position_embeddings": seq_length,
    }
    for key, value in derived.items():
        model[key] = model[key] or value
    return model


def shapes(model):
    """Canonical name to shape, for every parameter."""
    hidden, ffn, bias = model["hidden_size"], model["ffn_hidden_size"], model["add_bias_linear"]
    queries = model["num_attention_heads"] * model["kv_channels"]
    keys = model["num_query_groups"] * model["kv_channels"]
    result = {"embedding.token.weight": (model["vocab_size"], hidden)}
    if model["position_embedding"] == "learned":
        result["embedding.position.weight"] = (model["max_position_embeddings"], hidden)

    def norm(name):
        result[name + ".weight"] = (hidden,)
        if model["normalization"] == "layernorm":
            result[name + ".bias"] = (hidden,)

    def linear(name, outputs, inputs):
        result[name + ".weight"] = (outputs, inputs)
        if bias:
            result[name + ".bias"] = (outputs,)

    for n in range(model["num_layers"]):
        layer = f"layers.{n}."
        norm(layer + "norm1")
        linear(layer + "attention.query", queries, hidden)
        linear(layer + "attention.key", keys, hidden)
        linear(layer + "attention.value", keys, hidden)
        linear(layer + "attention.output", hidden, queries)
        norm(layer + "norm2")
        if model["activation"] == "swiglu":
            linear(layer + "ffn.gate", ffn, hidden)
        linear(layer + "ffn.up", ffn, hidden)
        linear(layer + "ffn.down", hidden, ffn)
    norm("final_norm")
    if not model["tie_embeddings"]:
        result["head.weight"] = (model["vocab_size"], hidden)
    return result


def initial(model, seed):
    weights = {}
    for name, shape in shapes(model).items():
        if len(shape) == 1:
            weights[name] = numpy.full(shape, 1.0 if name.endswith(".weight") else 0.0)
            continue
        deviation = model["init_method_std"]
        if name.endswith(("attention.output.weight", "ffn.down.weight")):
            deviation /= numpy.sqrt(2 * model["num_layers"])
        b0, b1, _, _ = data.philox(data.name_key(name, seed), numpy.arange(shape[0] * shape[1], dtype=numpy.uint64))
        radius = numpy.sqrt(-2 * numpy.log((b0 + 0.5) / 2.0**32))
        weights[name] = (deviation * (radius * numpy.cos(2 * numpy.pi * (b1 + 0.5) / 2.0**32))).reshape(shape)
    return weights


def exact(x):
    return x


def as_fp32(x):
    """Rounded as fp32 would keep it, though sums inside of a product stay exact."""
    return x.astype(numpy.float32).astype(numpy.float64)


class Model:
    """loss_and_gradients() adds to `gradients`; keep is what a result goes through before it is stored."""

    def __init__(self, model, weights, keep=exact):
        self.c = model
        self.w = weights
        self.keep = keep
        self.gradients = None

    def _accumulate(self, name, gradient):
        self.gradients[name] = self.keep(self.gradients[name] + self.keep(gradient))

    # Each _forward returns its result and a function from the result's gradient to the input's.

    def _linear(self, name, x):
        weight = self.w[name + ".weight"]
        y = x @ weight.T
        if name + ".bias" in self.w:
            y = y + self.w[name + ".bias"]

        def backward(dy):
            rows = dy.reshape(-1, dy.shape[-1])
            self._accumulate(name + ".weight", rows.T @ x.reshape(-1, x.shape[-1]))
            if name + ".bias" in self.w:
                self._accumulate(name + ".bias", rows.sum(0))
            return self.keep(dy @ weight)

        return self.keep(y), backward

    def _norm(self, name, x):
        centred = self.c["normalization"] == "layernorm"
        weight = self.w[name + ".weight"]
        deviation = x - x.mean(-1, keepdims=True) if centred else x
        scale = 1 / numpy.sqrt((deviation**2).mean(-1, keepdims=True) + self.c["norm_epsilon"])
        normal = deviation * scale
        y = normal * weight
        if centred:
            y = y + self.w[name + ".bias"]

        def backward(dy):
            self._accumulate(name + ".weight", (dy * normal).reshape(-1, x.shape[-1]).sum(0))
            if centred:
                self._accumulate(name + ".bias", dy.reshape(-1, x.shape[-1]).sum(0))
            d = dy * weight
            dx = d - normal * (d * normal).mean(-1, keepdims=True)
            if centred:
                dx = dx - d.mean(-1, keepdims=True)
            return self.keep(dx * scale)

        return self.keep(y), backward

    def _rotate(self, x, direction):
        """x: [batch, heads, position, kv_channels]; direction -1 turns back, which is what a gradient needs."""
        if self.c["position_embedding"] != "rotary":
            return x
        turning = int(round(self.c["kv_channels"] * self.c["rotary_percent"]))
        half = turning // 2
        positions = numpy.arange(x.shape[2], dtype=numpy.float64)[:, None]
        angle = positions * float(self.c["rotary_base"]) ** (-2 * numpy.arange(half) / turning)
        cos, sin = self.keep(numpy.cos(angle)), self.keep(direction * numpy.sin(angle))
        first, second = x[..., :half], x[..., half:turning]
        return self.keep(numpy.concatenate([first * cos - second * sin, first * sin + second * cos, x[..., turning:]], -1))

    def _attention(self, layer, x):
        heads, groups, width = self.c["num_attention_heads"], self.c["num_query_groups"], self.c["kv_channels"]
        batch, length, _ = x.shape
        query, query_backward = self._linear(layer + "attention.query", x)
        key, key_backward = self._linear(layer + "attention.key", x)
        value, value_backward = self._linear(layer + "attention.value", x)

        def split(rows, count):
            return rows.reshape(batch, length, count, width).transpose(0, 2, 1, 3)

        def join(rows):
            return rows.transpose(0, 2, 1, 3).reshape(batch, length, -1)

        def shared(rows):  # of the groups to every head
            return numpy.repeat(rows, heads // groups, axis=1)

        def summed(rows):  # of the heads to the group they read
            return rows.reshape(batch, groups, heads // groups, length, width).sum(2)

        q = self._rotate(split(query, heads), 1)
        k = shared(self._rotate(split(key, groups), 1))
        v = shared(split(value, groups))
        scores = q @ k.transpose(0, 1, 3, 2) / numpy.sqrt(width)
        scores = numpy.where(numpy.tri(length, dtype=bool), scores, -numpy.inf)
        weights = numpy.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        weights = self.keep(weights)
        y, output_backward = self._linear(layer + "attention.output", self.keep(join(weights @ v)))

        def backward(dy):
            d = split(output_backward(dy), heads)
            d_weights = d @ v.transpose(0, 1, 3, 2)
            d_scores = self.keep(weights * (d_weights - (weights * d_weights).sum(-1, keepdims=True)) / numpy.sqrt(width))
            dq = self._rotate(self.keep(d_scores @ k), -1)
            dk = self._rotate(self.keep(summed(d_scores.transpose(0, 1, 3, 2) @ q)), -1)
            dv = self.keep(summed(weights.transpose(0, 1, 3, 2) @ d))
            return self.keep(query_backward(join(dq)) + key_backward(join(dk)) + value_backward(join(dv)))

        return y, backward

    def _feed_forward(self, layer, x):
        up, up_backward = self._linear(layer + "ffn.up", x)
        if self.c["activation"] == "swiglu":
            gate, gate_backward = self._linear(layer + "ffn.gate", x)
            sigmoid = 1 / (1 + numpy.exp(-gate))
            y, down_backward = self._linear(layer + "ffn.down", self.keep(gate * sigmoid * up))

            def backward(dy):
                d = down_backward(dy)
                d_gate = self.keep(d * up * sigmoid * (1 + gate * (1 - sigmoid)))
                return self.keep(gate_backward(d_gate) + up_backward(self.keep(d * gate * sigmoid)))

        else:
            factor = numpy.sqrt(2 / numpy.pi)
            tanh = numpy.tanh(factor * (up + 0.044715 * up**3))
            y, down_backward = self._linear(layer + "ffn.down", self.keep(0.5 * up * (1 + tanh)))

            def backward(dy):
                inner = factor * (1 + 3 * 0.044715 * up**2)
                slope = 0.5 * (1 + tanh) + 0.5 * up * (1 - tanh**2) * inner
                return up_backward(self.keep(down_backward(dy) * slope))

        return y, backward

    def losses(self, windows, gradient_factor=None):
        """windows: [batch, seq_length + 1] tokens. The loss of each label, [batch, seq_length].

        With gradient_factor the gradients of the sum of these losses, times the factor, are added to self.gradients.
        """
        windows = numpy.asarray(windows)
        tokens, labels = windows[:, :-1], windows[:, 1:]
        batch, length = tokens.shape
        x = self.w["embedding.token.weight"][tokens]
        if self.c["position_embedding"] == "learned":
            x = self.keep(x + self.w["embedding.position.weight"][:length])
        backwards = []
        for n in range(self.c["num_layers"]):
            for norm, block in (("norm1", self._attention), ("norm2", self._feed_forward)):
                normal, norm_backward = self._norm(f"layers.{n}.{norm}", x)
                y, block_backward = block(f"layers.{n}.", normal)
                x = self.keep(x + y)
                backwards.append((norm_backward, block_backward))
        normal, final_backward = self._norm("final_norm", x)
        head = "embedding.token.weight" if self.c["tie_embeddings"] else "head.weight"
        logits = self.keep(normal @ self.w[head].T)
        logits = logits - logits.max(-1, keepdims=True)
        logarithm = numpy.log(numpy.exp(logits).sum(-1))
        chosen = numpy.take_along_axis(logits, labels[..., None], -1)[..., 0]
        losses = logarithm - chosen
        if gradient_factor is None:
            return losses

        d_logits = numpy.exp(logits - logarithm[..., None])
        numpy.put_along_axis(d_logits, labels[..., None], numpy.take_along_axis(d_logits, labels[..., None], -1) - 1, -1)
        d_logits = self.keep(d_logits * gradient_factor)
        self._accumulate(head, d_logits.reshape(batch * length, -1).T @ normal.reshape(batch * length, -1))
        dx = final_backward(self.keep(d_logits @ self.w[head]))
        for norm_backward, block_backward in reversed(backwards):
            dx = self.keep(dx + norm_backward(block_backward(dx)))
        embedding = numpy.zeros_like(self.w["embedding.token.weight"])
        numpy.add.at(embedding, tokens.reshape(-1), dx.reshape(batch * length, -1))
        self._accumulate("embedding.token.weight", embedding)
        if self.c["position_embedding"] == "learned":
            position = numpy.zeros_like(self.w["embedding.position.weight"])
            position[:length] = dx.sum(0)
            self._accumulate("embedding.position.weight", position)
        return losses
