"""Random bits: never the same twice, in threads and in forked children."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import pytest

from headstream.chance import bits80


def draw(count: int) -> list[int]:
    return [bits80() for _ in range(count)]


def test_they_are_80_bits_and_differ():
    """Many draws, many numbers, all bits in use."""
    drawn = draw(5000)
    assert len(set(drawn)) == 5000
    assert max(number.bit_length() for number in drawn) == 80


def test_threads_share_nothing():
    """Two threads never get the same number."""
    with ThreadPoolExecutor(8) as pool:
        drawn = [number for numbers in pool.map(draw, [2000] * 8) for number in numbers]
    assert len(set(drawn)) == 16000


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork beside threads: what is tested here
def test_a_forked_child_draws_anew():
    """Parent and children have the same memory, and yet other numbers."""
    bits80()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        children = pool.map(draw, [300, 300])
    numbers = [*children[0], *children[1], *draw(300)]
    assert len(set(numbers)) == 900
