"""Ids that were seen, eight bytes each: a million of them in 16 MiB, where a set of strings takes 130."""

from array import array

START = 1 << 12
FULL = 2 / 3


class IdSet:
    """A set of content ids, exactly: an id has 16 hexadecimal digits, which are the 64 bits kept of it.

    Open addressing with linear probing (Knuth, TAOCP 3, 6.4, algorithm L); ids are hashes already.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * START))
        self._count = 0
        self._zero = False  # an empty slot is 0, so the id 0 stands aside

    def add(self, row_id: str) -> bool:
        """Remember an id; whether it is new. Raises ValueError for what is no content id."""
        if len(row_id) != 16:
            raise ValueError(f"{row_id!r} is no content id")
        value = int(row_id, 16)
        if value == 0:
            new, self._zero = not self._zero, True
            return new
        if self._count >= FULL * len(self._slots):
            self._grow()
        return self._put(value)

    def _put(self, value: int) -> bool:
        slots, mask = self._slots, len(self._slots) - 1
        at = value & mask
        while slots[at]:
            if slots[at] == value:
                return False
            at = (at + 1) & mask
        slots[at] = value
        self._count += 1
        return True

    def _grow(self) -> None:
        old, self._slots, self._count = self._slots, array("Q", bytes(16 * len(self._slots))), 0
        for value in old:
            if value:
                self._put(value)
