"""The history of one log source: the last bytes written, in one circular area.

Source: telemetry §1.2.
"""

from __future__ import annotations

from attrs import define, field

CAPACITY = 102_400


@define
class ByteRing:
    """Keeps the last `capacity` bytes. Takes no memory before the first byte is written.

    Memory is bounded by bytes, never by the number of writes; writing is one copy of what is
    written, reading one copy of what is kept.
    """

    capacity: int = CAPACITY
    _area: bytearray | None = field(default=None, init=False, repr=False)
    _end: int = field(default=0, init=False)
    """Where the next byte goes."""
    _size: int = field(default=0, init=False)
    _truncated: bool = field(default=False, init=False)

    def __len__(self) -> int:
        return self._size

    @property
    def allocated(self) -> int:
        """Bytes of memory held, whatever of it is filled."""
        return 0 if self._area is None else len(self._area)

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`, a flat run of bytes; what no longer fits is lost from the front."""
        count = len(data)
        if not count:
            return
        if self._area is None:
            self._area = bytearray(self.capacity)
        if self._size + count > self.capacity:
            self._truncated = True
        self._size = min(self._size + count, self.capacity)
        if count >= self.capacity:
            self._area[:] = data[count - self.capacity :]
            self._end = 0
            return
        head = min(count, self.capacity - self._end)
        self._area[self._end : self._end + head] = data[:head]
        self._area[: count - head] = data[head:]
        self._end = (self._end + count) % self.capacity

    def snapshot(self) -> bytes:
        """Return an independent copy of what is kept, oldest byte first.

        If something was lost from the front it begins with a whole UTF-8 character.
        """
        if self._area is None:
            return b""
        area = memoryview(self._area)
        if not self._truncated:
            return bytes(area[: self._size])
        start = (self._end + _broken_character(self._area, self._end)) % self.capacity
        if start < self._end:  # the cut-off character lies across the seam
            return bytes(area[start : self._end])
        return b"".join((area[start:], area[: self._end]))

    def clear(self) -> None:
        """Drop everything, and the memory with it."""
        self._area = None
        self._end = self._size = 0
        self._truncated = False


def _broken_character(area: bytearray, start: int) -> int:
    """Return how many bytes after `start` continue a character whose beginning is gone.

    A character has at most three of them; a longer run is no UTF-8 and stays as it is.
    """
    longest = min(4, len(area))
    for skipped in range(longest):
        if area[(start + skipped) % len(area)] & 0xC0 != 0x80:
            return skipped
    return 0
