"""Bad items of a bulk job: written to a file as they come, the first of them kept to be shown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from service.cli.exits import Exit, fail
from service.client.outcomes import Failure

_KEPT = 1000


def default_path(collection: str) -> Path:
    """A file in the current folder that no other run writes."""
    return Path(f"solomon-failures-{collection}-{datetime.now(UTC):%Y%m%dT%H%M%S}.jsonl")


class FailureFile:
    """A JSONL file with a `source` and a `reason` a line; it is made with the first failure."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.first: list[Failure] = []
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, failures: Iterable[Failure]) -> None:
        """Append failures; they are in the file when this returns, whatever becomes of the job."""
        for failure in failures:
            self.count += 1
            if len(self.first) < _KEPT:
                self.first.append(failure)
            line = json.dumps({"source": failure.source, "reason": failure.reason})
            try:
                if self._file is None:
                    self._file = self.path.open("w", encoding="utf-8")
                self._file.write(f"{line}\n")
                self._file.flush()
            except OSError as error:
                fail(
                    f"--failures {self.path} cannot be written ({error.strerror}); name another file.",
                    Exit.USAGE,
                )
