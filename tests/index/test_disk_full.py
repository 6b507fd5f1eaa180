"""A disk that refuses is an error to the caller and nothing else: reads go on, and later writes too."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from index.store import FaissStore
from index.types import Image, StorageError
from tests.index.documents import document, vector_of

PICTURE = os.urandom(40_000)


class Disk(Protocol):
    """A place for files that can be made to refuse writes."""

    folder: Path

    def fill(self) -> None:
        """Leave no room, but for a few pages."""

    def free(self) -> None:
        """Make room again."""


class FileSizeLimit:
    """The kernel refuses to let this process's files grow (EFBIG); works without privileges."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        largest = max(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 100_000, self._before[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


class SmallFilesystem:
    """A tmpfs of a few megabytes (ENOSPC); only who may mount can have it."""

    SIZE = 12 * 2**20

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = ["mount", "-t", "tmpfs", "-o", f"size={self.SIZE}", "solomon-test", str(folder)]
        subprocess.run(command, check=True, capture_output=True)

    def fill(self) -> None:
        left = os.statvfs(self.folder)
        (self.folder / "ballast").write_bytes(bytes(left.f_bavail * left.f_bsize - 200_000))

    def free(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)


def may_mount() -> bool:
    """Whether this process may mount file systems; in most containers it may not."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=1m", "solomon-test", "/mnt"]
    try:
        return os.geteuid() == 0 and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture(params=["limit", *(["filesystem"] if may_mount() else [])])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "limit":
        limit = FileSizeLimit(tmp_path)
        yield limit
        limit.free()
        return
    (tmp_path / "disk").mkdir()
    filesystem = SmallFilesystem(tmp_path / "disk")
    yield filesystem
    filesystem.unmount()


def written_until_full(store: FaissStore) -> list[str]:
    """Write until the disk refuses; return the ids that were acknowledged."""
    acknowledged = []
    for number in range(1000):
        new = document(f"doc-{number}", f"text {number}", Image(PICTURE, "image/png"))
        try:
            store.upsert("things", [new])
        except StorageError:
            return acknowledged
        acknowledged.append(new.id)
    raise AssertionError("the disk took everything")


def check(store: FaissStore, acknowledged: list[str]) -> None:
    found = {hit.document.id for hit in store.search("things", vector_of("x"), 1000)}
    assert found == set(acknowledged)
    assert store.get("things").count == len(acknowledged)
    for document_id in acknowledged:
        assert store.get_image("things", document_id).data == PICTURE
    assert store.verify("things").damage == []
    assert store.get("things").lost == 0


def test_a_full_disk_is_an_error_and_nothing_else(disk: Disk) -> None:
    store = FaissStore(disk.folder / "data")
    store.create("things", 8, "m")
    store.upsert("things", [document("first", image=Image(PICTURE, "image/png"))])
    disk.fill()
    acknowledged = ["first", *written_until_full(store)]
    check(store, acknowledged)
    with pytest.raises(StorageError):
        store.upsert("things", [document("first", "replaced", Image(PICTURE, "image/png"))])
    check(store, acknowledged)
    disk.free()
    store.upsert("things", [document("after", image=Image(PICTURE, "image/png"))])
    store.delete_document("things", "first")
    check(store, [*acknowledged[1:], "after"])
    store.close()
    store = FaissStore(disk.folder / "data")
    check(store, [*acknowledged[1:], "after"])
    store.close()


def test_closing_on_a_full_disk_loses_nothing(disk: Disk) -> None:
    store = FaissStore(disk.folder / "data")
    store.create("things", 8, "m")
    store.upsert("things", [document("first", image=Image(PICTURE, "image/png"))])
    disk.fill()
    acknowledged = ["first", *written_until_full(store)]
    store.close()
    disk.free()
    store = FaissStore(disk.folder / "data")
    check(store, acknowledged)
    store.close()


def test_what_needs_room_of_its_own_fails_whole(disk: Disk, tmp_path: Path) -> None:
    store = FaissStore(disk.folder / "data")
    store.create("things", 8, "m")
    pictures = [document(f"doc-{n}", image=Image(PICTURE, "image/png")) for n in range(12)]
    store.upsert("things", pictures)
    backup = disk.folder / "backup"
    store.backup("things", backup)
    before = {info.name for info in store.list()}
    store.close()
    store = FaissStore(disk.folder / "data")
    if isinstance(disk, FileSizeLimit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    else:
        disk.fill()
    with pytest.raises(StorageError):
        store.backup("things", disk.folder / "another")
    with pytest.raises(StorageError):
        store.restore(backup, "copy")
    with pytest.raises(StorageError):
        store.restore(backup, replace=True)
    assert {info.name for info in store.list()} == before
    check(store, [new.id for new in pictures])
    disk.free()
    assert store.restore(backup, "copy").count == 12
    store.close()
    assert not (disk.folder / "another").exists()
