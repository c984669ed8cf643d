"""downloads: counts kept in memory between two writes, so that reading a file never waits for the database."""

from __future__ import annotations

import threading
from collections import Counter

MOST = 100_000  # files counted at once; a process that cannot write for long forgets the rest


class Downloads:
    """How often which file of which repository was fetched since `take` was called last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[int, str]] = Counter()

    def add(self, repo_id: int, path: str) -> None:
        with self._lock:
            if len(self._counts) < MOST or (repo_id, path) in self._counts:
                self._counts[repo_id, path] += 1

    def take(self) -> dict[tuple[int, str], int]:
        """What was counted; counting begins anew."""
        with self._lock:
            taken, self._counts = self._counts, Counter()
        return dict(taken)
