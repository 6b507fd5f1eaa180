"""The keys that a server knows: those of its environment, and those of a file that it reads again."""

from __future__ import annotations

import hmac
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from service.auth.keys import ApiKey, configured_keys, digest_of, read_key_file
from service.auth.rates import Clock, TokenBucket

_CHECK_SECONDS = 1.0  # a key that is taken out of the file works no longer than this
_log = structlog.get_logger("solomon.keys")


class Keyring:
    """Finds keys and counts their calls. For one thread: the event loop's.

    A file that has become unreadable or malformed changes nothing: the keys that it held stay, and the log
    and a metric say so. One that is empty holds no keys, and nobody is let in by it.
    """

    def __init__(self, entries: Sequence[str], file: Path | None, clock: Clock = time.monotonic) -> None:
        """Take keys as SOLOMON_API_KEYS states them and a key file. Raises `ValueError` and `OSError`."""
        self._configured = configured_keys(entries)
        self._file = file
        self._clock = clock
        self._keys = list(self._configured)
        self._buckets: dict[bytes, TokenBucket] = {}
        self._seen: tuple[int, int, int] | None = None
        self._trouble: str | None = None  # why the file cannot be read as it is now
        self._next_check = clock() + _CHECK_SECONDS
        if file is not None:
            self._seen = _version(file)
            self._keys += read_key_file(file)

    @property
    def needed(self) -> bool:
        """Whether calls need a key at all."""
        return bool(self._configured) or self._file is not None

    @property
    def broken(self) -> bool:
        """Whether the file could not be read when a key was last looked for, so that older ones hold."""
        return self._trouble is not None

    def find(self, presented: str) -> ApiKey | None:
        """The key that was presented, None for a stranger's."""
        self._reload_if_changed()
        digest = digest_of(presented)
        # Every digest is compared in full, so that timing tells nothing of which one matched.
        matches = [key for key in self._keys if hmac.compare_digest(digest, key.digest)]
        return matches[0] if matches else None

    def take_call(self, key: ApiKey) -> float:
        """Count a call of a key: 0.0 if it may pass, else the seconds until one may."""
        if key.rate is None:
            return 0.0
        bucket = self._buckets.get(key.digest)
        if bucket is None or bucket.rate != key.rate:
            bucket = self._buckets[key.digest] = TokenBucket(key.rate, self._clock)
        return bucket.take()

    def _reload_if_changed(self) -> None:
        now = self._clock()
        if self._file is None or now < self._next_check:
            return
        self._next_check = now + _CHECK_SECONDS
        try:
            version = _version(self._file)
            if version == self._seen:
                return
            self._keys = self._configured + read_key_file(self._file)
        except (OSError, ValueError) as error:
            if str(error) != self._trouble:  # told once, not every second
                _log.error("the key file cannot be read; the keys stay as they were", reason=str(error))
            self._trouble, self._seen = str(error), None
            return
        self._trouble, self._seen = None, version
        known = {key.digest for key in self._keys}
        self._buckets = {digest: bucket for digest, bucket in self._buckets.items() if digest in known}
        _log.info("the key file was read again", keys=[key.name for key in self._keys])


def _version(file: Path) -> tuple[int, int, int]:
    """What changes whenever a file is written or replaced (Kubernetes swaps a link above it)."""
    status = file.stat()
    return status.st_mtime_ns, status.st_ino, status.st_size
