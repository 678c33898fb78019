"""Answers that come twice. Behind a proxy that repeats one, every later answer on its connection is another request's.

HTTP/1.1 pairs answers with requests by their order alone, so a repeated answer shifts all that follow: rows
would get each other's texts, and nobody would ever know.
"""

import re
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

ID = re.compile(rb'"id"\s*:\s*"([^"]+)"')
HEAD = 400
"""Bytes at the start of a body that hold its id, where it has one."""


class Connection(Protocol):
    """What answers come on."""

    def close(self) -> Any:
        """Use it no more."""


class Doubles:
    """Tells a repeated answer: the bytes that came before it on its connection, id included.

    Some servers give every answer the same id, and equal texts are equal bytes there. That is known once two
    different answers, or the first ones of two connections, had one id; until then a repetition counts as one.
    """

    def __init__(self) -> None:
        self._last: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()
        self._shifted: WeakSet[Connection] = WeakSet()
        self._first: tuple[bytes, int] | None = None
        self._ids = "unknown"

    def is_one(self, connection: Connection, body: bytes) -> bool:
        """Whether an answer was given before, or came behind one that was. Its connection is then closed."""
        before, digest = self._last.get(connection), hash(body)
        self._last[connection] = digest
        found = ID.search(body, 0, HEAD)
        if found is not None and self._ids != "differ":
            self._learn(found[1], digest, fresh=before is None)
        repeated = found is not None and before == digest and self._ids != "same"
        if connection not in self._shifted and not repeated:
            return False
        self._shifted.add(connection)
        connection.close()
        return True

    def _learn(self, own: bytes, digest: int, *, fresh: bool) -> None:
        """`own` is the id of an answer, which may be the `fresh` first one of its connection."""
        if self._first is None:
            self._first = (own, digest)
        elif own != self._first[0]:
            self._ids = "differ"
        elif fresh or digest != self._first[1]:
            self._ids = "same"
