"""Finished pictures, held in memory for a while, so that they can be downloaded.

Nothing is written to disk. Who knows a picture's token gets it; tokens cannot be guessed.
"""

import collections
import dataclasses
import secrets
import threading
import time

MAX_BYTES = 2**29
MAX_SECONDS = 30 * 60


@dataclasses.dataclass(frozen=True)
class File:
    """A file to be downloaded."""

    name: str
    data: bytes
    time: float


class KeptFiles:
    """Files by token; the oldest give way."""

    def __init__(self, max_bytes=MAX_BYTES, max_seconds=MAX_SECONDS):
        self._files = collections.OrderedDict()
        self._max_bytes, self._max_seconds = max_bytes, max_seconds
        self._lock = threading.Lock()

    def keep(self, name, data):
        """Keeps a file; returns its token."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._files[token] = File(name, data, time.monotonic())
            total = sum(len(file.data) for file in self._files.values())
            while total > self._max_bytes and len(self._files) > 1:
                total -= len(self._files.popitem(last=False)[1].data)
        self.forget_old()
        return token

    def get(self, token):
        """The file of a token, or None."""
        self.forget_old()
        with self._lock:
            return self._files.get(token)

    def forget(self, tokens):
        """Drops files."""
        with self._lock:
            for token in tokens:
                self._files.pop(token, None)

    def forget_old(self):
        """Drops what has been kept for too long."""
        oldest = time.monotonic() - self._max_seconds
        with self._lock:
            self._files = collections.OrderedDict(
                (token, file)
                for token, file in self._files.items()
                if file.time >= oldest
            )

    def __len__(self):
        return len(self._files)
