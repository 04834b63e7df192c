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
    """Files by token; the oldest give way, by size and, whether asked for or not, by age.

    Asking for a file does not make it stay longer.
    """

    def __init__(self, max_bytes=MAX_BYTES, max_seconds=MAX_SECONDS):
        self._files = collections.OrderedDict()  # From old to new.
        self._max_bytes, self._max_seconds = max_bytes, max_seconds
        self._lock = threading.Lock()
        self._timer = None  # Runs as long as there are files.

    def keep(self, name, data):
        """Keeps a file; returns its token."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._files[token] = File(name, data, time.monotonic())
            total = sum(len(file.data) for file in self._files.values())
            while total > self._max_bytes and len(self._files) > 1:
                total -= len(self._files.popitem(last=False)[1].data)
            if self._timer is None:
                self._wait()
        return token

    def get(self, token):
        """The file of a token, or None."""
        with self._lock:
            return self._files.get(token)

    def __len__(self):
        return len(self._files)

    def _wait(self):
        """Sets the timer for the oldest file's end."""
        age = time.monotonic() - next(iter(self._files.values())).time
        self._timer = threading.Timer(max(self._max_seconds - age, 0), self._forget_old)
        self._timer.daemon = True
        self._timer.start()

    def _forget_old(self):
        """Drops what has been kept for too long."""
        oldest = time.monotonic() - self._max_seconds
        with self._lock:
            while self._files and next(iter(self._files.values())).time <= oldest:
                self._files.popitem(last=False)
            self._timer = None
            if self._files:
                self._wait()
