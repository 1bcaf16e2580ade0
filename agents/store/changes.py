"""Noticing that somebody else wrote to the store, for next to nothing: a decision is acted upon at once."""

import sqlite3
from pathlib import Path


class Changes:
    """Asks SQLite whether another connection, of this or another process, has committed since the last look.

    To be used in one thread.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._version = -1

    def seen(self) -> bool:
        """Whether there was a change; true at the first look."""
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, isolation_level=None, timeout=30)
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        changed, self._version = version != self._version, version
        return bool(changed)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
