"""From a text to the samples of a step, as docs/data.md describes it."""

import struct

import numpy

M64 = 2**64 - 1
END_OF_DOCUMENT = 256
BYTES_VOCABULARY = 257


# Random numbers


def philox(key, low, high=0):
    """Philox4x32-10. low: an integer or an array of them; returns b0..b3 as uint64 arrays of values below 2^32."""
    low = numpy.asarray(low, dtype=numpy.uint64)
    word = numpy.uint64(0xFFFFFFFF)
    shift = numpy.uint64(32)
    high = numpy.full_like(low, high)
    c0, c1, c2, c3 = low & word, low >> shift, high & word, high >> shift
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0 = c0 * numpy.uint64(0xD2511F53)
        p1 = c2 * numpy.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ numpy.uint64(k0), p1 & word, (p0 >> shift) ^ c3 ^ numpy.uint64(k1), p0 & word
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def fnv1a(content, start=0xCBF29CE484222325):
    for byte in content:
        start = ((start ^ byte) * 0x100000001B3) & M64
    return start


def name_key(name, seed):
    return fnv1a(name.encode(), 0xCBF29CE484222325 ^ ((seed * 0x9E3779B97F4A7C15) & M64))


# Files


def documents_of_text(content, separator):
    """Bytes to a list of documents, each a list of tokens of the bytes tokenizer."""
    return [list(piece) + [END_OF_DOCUMENT] for piece in content.split(separator) if piece]


def token_files(documents):
    """The bytes of PREFIX.bin and PREFIX.idx."""
    lengths = [len(document) for document in documents]
    starts = [0]
    for length in lengths[:-1]:
        starts.append(starts[-1] + 2 * length)
    count = len(lengths)
    binary = b"".join(struct.pack(f"<{len(d)}H", *d) for d in documents)
    index = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, count, count + 1)
    index += struct.pack(f"<{count}i", *lengths) + struct.pack(f"<{count}q", *starts)
    index += struct.pack(f"<{count + 1}q", *range(count + 1))
    return binary, index


def read_token_files(prefix):
    """The documents of PREFIX.bin and PREFIX.idx, each a list of tokens."""
    with open(prefix + ".idx", "rb") as file:
        index = file.read()
    with open(prefix + ".bin", "rb") as file:
        binary = file.read()
    if index[:9] != b"MMIDIDX\0\0":
        raise SystemExit(f"{prefix}.idx: not an index of token files")
    version, kind, sequences, entries = struct.unpack_from("<QBQQ", index, 9)
    if version != 1:
        raise SystemExit(f"{prefix}.idx: version {version}, expected 1")
    dtype = numpy.dtype({1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}[kind])
    lengths = struct.unpack_from(f"<{sequences}i", index, 34)
    starts = struct.unpack_from(f"<{sequences}q", index, 34 + 4 * sequences)
    first = struct.unpack_from(f"<{entries}q", index, 34 + 12 * sequences)
    documents = []
    for begin, end in zip(first[:-1], first[1:]):
        tokens = []
        for s in range(begin, end):
            tokens += numpy.frombuffer(binary, dtype, lengths[s], starts[s]).tolist()
        documents.append(tokens)
    return documents


# Samples


def shuffled(count, seed):
    order = list(range(count))
    key = name_key("data.documents", seed)
    for i in range(count - 1, 0, -1):
        b = philox(key, i)
        j = (((int(b[1]) << 32) + int(b[0])) * (i + 1)) >> 64
        order[i], order[j] = order[j], order[i]
    return order


def half_away_from_zero(x):
    whole = int(x)
    return whole + 1 if x - whole >= 0.5 else whole


class Split:
    """The windows of one share: window w is seq_length + 1 tokens."""

    def __init__(self, documents, order, seq_length):
        self.tokens = [token for document in order for token in documents[document]]
        self.seq_length = seq_length
        self.windows = max(0, (len(self.tokens) - 1) // seq_length)

    def window(self, w):
        begin = w * self.seq_length
        return self.tokens[begin : begin + self.seq_length + 1]


class Samples:
    def __init__(self, documents, split, seed, seq_length):
        a, b, c = (float(part) for part in split.split(","))
        n = len(documents)
        x = half_away_from_zero(a / (a + b + c) * n)
        y = half_away_from_zero((a + b) / (a + b + c) * n)
        order = shuffled(n, seed)
        self.seed = seed
        self.order = order
        self.training = Split(documents, order[:x], seq_length)
        self.validation = Split(documents, order[x:y], seq_length)

    def window_of(self, sample):
        """Which window of the training share sample number `sample`, from 0, is."""
        windows = self.training.windows
        key = name_key("data.windows", self.seed)
        half = ((windows - 1).bit_length() + 1) // 2
        mask = 2**half - 1
        epoch, value = divmod(sample, windows)
        while True:
            left, right = value >> half, value & mask
            for number in range(8):
                left ^= int(philox(key, right + (number << 32), epoch)[0]) & mask
                left, right = right, left
            value = left << half | right
            if value < windows:
                return value

    def sample(self, number):
        return self.training.window(self.window_of(number))
