"""The memory that a worker shares with its lease guard: a heartbeat and the leases it holds."""

import mmap
import struct

CAPACITY = 4096
"""Leases beyond this are not guarded; few workers hold a tenth of it."""
_BEAT = struct.Struct("<Q")
_HEAD = 16  # bytes; the heartbeat counter
_SLOT = 256  # bytes: a length (2) and a claim
_LENGTH = struct.Struct("<H")
_LONGEST = _SLOT - _LENGTH.size
_ENTRY = struct.Struct(f"<H{_LONGEST}s")
SIZE = _HEAD + CAPACITY * _SLOT
NO_SLOT = -1


class LeaseTable:
    """Both sides' view of the memory; one writes, the other reads.

    A write is one call into C by a thread that has the interpreter, and the guard acts only
    while no thread can have it for long: no lock is needed.

    Args:
        descriptor: Of a file of SIZE bytes.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, SIZE)
        self._free: list[int] = []  # of the slots that were used
        self._unused = 0  # the first of the others
        self._beats = 0

    def beat(self) -> None:
        """Count that the worker's loop turns."""
        self._beats += 1
        self._memory[: _BEAT.size] = _BEAT.pack(self._beats)

    def beats(self) -> int:
        """Return how often the loop has turned."""
        count: int = _BEAT.unpack_from(self._memory)[0]
        return count

    def put(self, claim: str) -> int:
        """Enter a lease by its claim.

        Returns:
            int: Its slot, or NO_SLOT when there is no room for it.
        """
        encoded = claim.encode()
        slot = self._free_slot() if len(encoded) <= _LONGEST else NO_SLOT
        if slot != NO_SLOT:
            _ENTRY.pack_into(self._memory, _HEAD + slot * _SLOT, len(encoded), encoded)
        return slot

    def clear(self, slot: int) -> None:
        """Remove a lease."""
        _LENGTH.pack_into(self._memory, _HEAD + slot * _SLOT, 0)
        self._free.append(slot)

    def holds_any(self) -> bool:
        """Tell whether this side has entered a lease that it has not removed."""
        return len(self._free) < self._unused

    def _free_slot(self) -> int:
        if self._free:
            return self._free.pop()
        if self._unused == CAPACITY:
            return NO_SLOT
        self._unused += 1
        return self._unused - 1

    def claims(self) -> list[str]:
        """Return the claims of all leases."""
        found: list[str] = []
        for start in range(_HEAD, SIZE, _SLOT):
            length: int = _LENGTH.unpack_from(self._memory, start)[0]
            if length:
                begin = start + _LENGTH.size
                found.append(self._memory[begin : begin + length].decode())
        return found

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
