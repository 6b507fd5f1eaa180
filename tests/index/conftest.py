"""What the index's tests share: a store in a fresh directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from index.store import FaissStore

DIMENSIONS = 8


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FaissStore]:
    opened = FaissStore(tmp_path / "data")
    opened.create("things", DIMENSIONS, "a-model")
    yield opened
    opened.close()
