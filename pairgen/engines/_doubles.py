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
    """Tells a repeated answer: the bytes that came before it on its connection, from a server whose ids differ."""

    def __init__(self) -> None:
        self._last: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()
        self._shifted: WeakSet[Connection] = WeakSet()
        self._id: bytes | None = None
        self._differ = False

    def is_one(self, connection: Connection, body: bytes) -> bool:
        """Whether an answer was given before, or came behind one that was. Its connection is then closed."""
        before, digest = self._last.get(connection), hash(body)
        self._last[connection] = digest
        self._learn(body)
        if connection not in self._shifted and not (self._differ and before == digest):
            return False
        self._shifted.add(connection)
        connection.close()
        return True

    def _learn(self, body: bytes) -> None:
        """Where every answer has one id, equal answers are no sign of anything."""
        if self._differ:
            return
        found = ID.search(body, 0, HEAD)
        if found is not None:
            self._differ = self._id is not None and found[1] != self._id
            self._id = found[1]
