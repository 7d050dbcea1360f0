"""Counter-based random integers: the same arguments give the same bits on every device.

Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3"
(SC'11). A word is 32 bits, unsigned; it is held in a Python `int` or in an int64 tensor, whose
products are split so that none of them exceeds 63 bits.
"""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

Word = TypeVar("Word", int, Tensor)

MAX_BOUND = 2**31 - 1
"""Largest bound that `bounded` takes."""

_MASK = 0xFFFF_FFFF
_MULTIPLIERS = (0xD251_1F53, 0xCD9E_8D57)
_KEY_STEPS = (0x9E37_79B9, 0xBB67_AE85)
_ROUNDS = 10


def philox(
    counter: tuple[Word, Word, Word, Word], key: tuple[int, int]
) -> tuple[Word, Word, Word, Word]:
    """Return the four random words of `counter` under `key`.

    Args:
        counter: Four words, all Python ints or all int64 tensors whose shapes broadcast.
        key: Two words.

    Returns:
        Four words, of the type, the broadcast shape and the device of `counter`.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _KEY_STEPS[0]) & _MASK, (k1 + _KEY_STEPS[1]) & _MASK
    return c0, c1, c2, c3


def bounded(high: Word, low: Word, bound: Word) -> Word:
    """Return `floor(word * bound / 2**64)` for the 64-bit word `high * 2**32 + low`.

    For a uniform word this is a nearly uniform integer of `[0, bound)`: the probability of each
    value differs from `1 / bound` by less than `2**-64`, so by less than `2**-33` of itself.

    Args:
        high: Upper 32 bits of the random word.
        low: Lower 32 bits.
        bound: Number of outcomes, from 1 to `MAX_BOUND`, so that no product exceeds 63 bits.
    """
    return (high * bound + (low * bound >> 32)) >> 32


def split(number: int) -> tuple[int, int]:
    """Return the lower and the upper word of a 64-bit number."""
    return number & _MASK, number >> 32 & _MASK


def _multiply(word: Word, multiplier: int) -> tuple[Word, Word]:
    """Return the upper and the lower word of `word * multiplier`, of tensors by 48-bit products."""
    if isinstance(word, int):
        product = word * multiplier
        return product >> 32, product & _MASK
    upper = (word >> 16) * multiplier
    lower = (word & 0xFFFF) * multiplier
    return (upper + (lower >> 16)) >> 16, (((upper & 0xFFFF) << 16) + lower) & _MASK
