from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torch_direct.kernels.philox import MAX_BOUND, bounded, philox, split

ONES = 0xFFFFFFFF
WORD = st.integers(0, ONES)

KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers(device, counter, key, answer):
    assert philox(counter, key) == answer
    words = philox(tuple(torch.tensor([word], device=device) for word in counter), key)
    assert tuple(word.item() for word in words) == answer


@given(st.tuples(WORD, WORD, WORD, WORD), st.tuples(WORD, WORD))
def test_tensors_and_ints_agree(counter, key):
    words = philox(tuple(torch.tensor(word) for word in counter), key)
    assert tuple(word.item() for word in words) == philox(counter, key)


@given(WORD, WORD, st.integers(1, MAX_BOUND) | st.just(MAX_BOUND))
def test_bounded_is_the_exact_quotient(high, low, bound):
    expected = (high << 32 | low) * bound >> 64
    assert bounded(high, low, bound) == expected
    tensors = (torch.tensor(number) for number in (high, low, bound))
    assert bounded(*tensors).item() == expected


@given(st.integers(-(2**63), 2**64 - 1))
def test_split_keeps_64_bits(number):
    low, high = split(number)
    assert high << 32 | low == number % 2**64
