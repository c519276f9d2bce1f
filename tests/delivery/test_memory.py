"""Records in memory: in order, by number, and bounded."""

from __future__ import annotations

from trubrics_trace.delivery._memory import Memory

MIB = 1024 * 1024


def filled(*lines: bytes) -> Memory:
    """Return a memory that holds these lines."""
    memory = Memory()
    for line in lines:
        assert 0 == memory.put(line)
    return memory


def test_in_order() -> None:
    """Lines come back in the order in which they came, each by its number."""
    entries = list(filled(b"one\n", b"two\n").entries())
    assert [(None, 1, b"one\n"), (None, 2, b"two\n")] == [
        (entry.segment, entry.start, entry.line) for entry in entries
    ]


def test_taken_once() -> None:
    """A line is taken once, and its number is nobody's after it."""
    memory = filled(b"one\n", b"two\n")
    assert (b"one\n", None) == (memory.take(1), memory.take(1))
    assert (1, 2, 2) == (len(memory), memory.first, memory.last)
    memory.take(2)
    assert (0, 3, 2) == (len(memory), memory.first, memory.last)


def test_bounded_in_number() -> None:
    """Beyond ten thousand lines the oldest goes for each that comes."""
    memory = filled(*[b"x\n"] * 9_999)
    assert not memory.is_full
    assert (0, True) == (memory.put(b"x\n"), memory.is_full)
    assert (1, 10_000, 2) == (memory.put(b"x\n"), len(memory), memory.first)


def test_bounded_in_bytes() -> None:
    """Beyond 32 MiB as many of the oldest go as leave room."""
    memory = filled(*[b"x" * MIB] * 15)
    assert not memory.is_full
    memory.put(b"x" * MIB)
    assert memory.is_full
    for _ in range(16):
        assert 0 == memory.put(b"x" * MIB)
    assert (2, 31) == (memory.put(b"x" * 2 * MIB), len(memory))


def test_one_larger_than_all() -> None:
    """A line that is larger than the bound is kept, alone."""
    memory = filled(b"one\n", b"two\n")
    assert (2, 1) == (memory.put(b"x" * 33 * MIB), len(memory))
    assert (1, 1) == (memory.put(b"three\n"), len(memory))
