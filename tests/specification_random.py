"""The random numbers of docs/arithmetic.md as a program: weights, orders of samples, dropout.

Like tests/specification.py, it shares no code with the package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count, islice

from specification_functions import Float64, log

INITIALIZE, SHUFFLE, DROPOUT = 1, 2, 3
MASK32, MASK64 = 2**32 - 1, 2**64 - 1


def philox4x32(key, counter):
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        p, q = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (q >> 32) ^ c1 ^ k0, q & MASK32, (p >> 32) ^ c3 ^ k1, p & MASK32
        k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
    return c0, c1, c2, c3


def words(seed, purpose, index):
    """A stream of 64-bit words, of each the low half first."""
    for block in count():
        counter = (block & MASK32, index & MASK32, index >> 32, purpose + (block >> 32 << 8))
        w = philox4x32((seed & MASK32, seed >> 32), counter)
        yield w[0] | w[1] << 32
        yield w[2] | w[3] << 32


def uniforms(stream):
    """In [-1, 1), from 53 bits each."""
    for word in stream:
        yield 2 * ((word >> 11) * 2.0**-53) - 1


def normals(stream):
    """Marsaglia's polar method."""
    pairs = uniforms(stream)
    for u, v in zip(pairs, pairs, strict=True):
        s = u * u + v * v
        if 0 < s < 1:
            scale = math.sqrt(-2 * float(log(Float64(s))) / s)
            yield u * scale
            yield v * scale


def below(stream, n):
    """In [0, n), unbiased (Lemire)."""
    product = next(stream) * n
    while (product & MASK64) < 2**64 % n:
        product = next(stream) * n
    return product >> 64


def permutation(seed, epoch, n):
    """Fisher-Yates, from the last place down."""
    stream, order = words(seed, SHUFFLE, epoch), list(range(n))
    for i in range(n - 1, 0, -1):
        j = below(stream, i + 1)
        order[i], order[j] = order[j], order[i]
    return order


@dataclass
class Dropout:
    rates: list[float]  # of the hidden layers
    seed: int
    epoch: int
    first_sample: int = 0  # samples of the epoch before these

    def factors(self, net, sample):
        """f^l by layer: 0 for the units that are left out, 1 / (1 - p) for the others."""
        result = {}
        for layer, p in enumerate(self.rates, start=1):
            if p:
                drawn = islice(self.words(layer, sample), len(net.layers[layer - 1].w))
                kept = net.T(1 / (1 - p))
                result[layer] = [net.T(0) if word < int(p * 2**32) else kept for word in drawn]
        return result

    def words(self, layer, sample):
        """One of 32 bits for each unit, from a seed that the layer has in this epoch."""
        counter = (layer, self.epoch & MASK32, self.epoch >> 32, DROPOUT)
        low, high, *_ = philox4x32((self.seed & MASK32, self.seed >> 32), counter)
        for word in words(low | high << 32, DROPOUT, self.first_sample + sample):
            yield word & MASK32
            yield word >> 32


#: name: (how numbers are drawn, their limit or deviation from fan_in and fan_out)
INITIALIZERS = {
    "glorot_uniform": (uniforms, lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out))),
    "glorot_normal": (normals, lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))),
    "he_uniform": (uniforms, lambda fan_in, fan_out: math.sqrt(6 / fan_in)),
    "he_normal": (normals, lambda fan_in, fan_out: math.sqrt(2 / fan_in)),
    "lecun_normal": (normals, lambda fan_in, fan_out: math.sqrt(1 / fan_in)),
}


def initial_weights(T, scheme, seed, layer, n_out, n_in):
    """W^l row by row, l = `layer` from 1."""
    draw, size = INITIALIZERS[scheme]
    numbers, factor = draw(words(seed, INITIALIZE, layer)), size(n_in, n_out)
    return [[T(factor * next(numbers)) for _ in range(n_in)] for _ in range(n_out)]
