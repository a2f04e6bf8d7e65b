"""Cases T1-T8 of telemetry §9, and what the ring promises for every sequence of writes."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap.telemetry.ring import CAPACITY, ByteRing


def written(*chunks: bytes, capacity: int = 8) -> ByteRing:
    ring = ByteRing(capacity)
    for chunk in chunks:
        ring.write(chunk)
    return ring


@pytest.mark.parametrize(
    ("chunks", "kept"),
    [
        ((b"abcd", b"efgh", b"XY"), b"cdefghXY"),
        ((b"abcdefghijklmnopqrst",), b"mnopqrst"),
        ((b"abcdefgh",), b"abcdefgh"),
        ((b"abcd", b"efgh"), b"abcdefgh"),
        ((b"abcdef", b"ABCDEFGH", b"12"), b"CDEFGH12"),
        ((b"abc", b"", b"de"), b"abcde"),
        ((), b""),
    ],
)
def test_the_last_bytes_are_kept(chunks: tuple[bytes, ...], kept: bytes) -> None:
    assert written(*chunks).snapshot() == kept


@given(
    st.lists(st.binary(max_size=20).map(lambda b: bytes(x & 0x7F for x in b)), max_size=30),
    st.integers(1, 16),
)
def test_any_sequence_of_writes_leaves_its_end(chunks: list[bytes], capacity: int) -> None:
    assert written(*chunks, capacity=capacity).snapshot() == b"".join(chunks)[-capacity:]


@given(st.lists(st.text(max_size=6), max_size=20), st.integers(4, 16))
def test_truncated_text_still_begins_with_a_whole_character(
    texts: list[str], capacity: int
) -> None:
    everything = "".join(texts)
    shown = written(*(t.encode() for t in texts), capacity=capacity).snapshot().decode()
    assert everything.endswith(shown)
    assert len(shown.encode()) > min(len(everything.encode()), capacity) - 4


@pytest.mark.parametrize("offset", range(8))
def test_a_character_cut_across_the_seam_is_left_out(offset: int) -> None:
    ring = written(b"x" * offset, "€".encode(), b"1234567")
    assert ring.snapshot() == b"1234567"


def test_bytes_that_are_no_utf8_are_kept_as_they_are() -> None:
    assert written(b"\x80" * 9).snapshot() == b"\x80" * 8


def test_a_history_that_lost_nothing_is_not_touched() -> None:
    assert written(b"\x80abc").snapshot() == b"\x80abc"


def test_memory_is_taken_with_the_first_byte_and_given_back_when_cleared() -> None:
    ring = ByteRing()
    ring.write(b"")
    assert ring.allocated == 0
    ring.write(b"a")
    assert ring.allocated == CAPACITY == 102_400
    ring.clear()
    assert (ring.allocated, ring.snapshot(), len(ring)) == (0, b"", 0)


def test_history_starts_again_after_clearing() -> None:
    ring = written(b"first, and more than fits")
    ring.clear()
    ring.write(b"second")
    assert ring.snapshot() == b"second"


def test_neither_the_writers_buffer_nor_the_readers_copy_is_shared() -> None:
    ring = ByteRing(8)
    buffer = bytearray(b"abcd")
    ring.write(memoryview(buffer))
    before = ring.snapshot()
    buffer[:] = b"XXXX"
    ring.write(b"efghi")
    assert (before, ring.snapshot()) == (b"abcd", b"bcdefghi")


def test_memory_is_bounded_by_bytes_however_small_the_writes() -> None:
    ring = ByteRing(10_000)
    tracemalloc.start()
    try:
        for number in range(50_000):
            ring.write(b"%d" % (number % 10))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000
    assert ring.snapshot() == b"0123456789" * 1_000
