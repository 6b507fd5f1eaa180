"""Bulk jobs that are cut short, by Ctrl-C and by kill -9, and go on where they stopped."""

import json
import shutil
import signal
import subprocess
import time

import httpx
import pytest

from service.settings import default_checkpoint
from tests.e2e.server_process import ServerProcess, clean_environment, solomon_command

COUNT = 960  # many more than an engine embeds before an interrupt reaches the command
NAME = "notes"


def run(server, *arguments):
    command = [*solomon_command(), *map(str, arguments), "--url", server.url]
    return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=300)


def wait_until(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def count(server, name=NAME):
    answer = httpx.get(f"{server.url}/collections/{name}", timeout=30)
    return answer.json()["count"] if answer.status_code == 200 else 0


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "notes.csv"
    rows = "".join(f"n{n},Note {n} is about the number {n * 7}.,{n}\n" for n in range(COUNT))
    path.write_text("id,text,number\n" + rows, "utf-8")
    return path


@pytest.fixture(scope="module")
def filled(start_server, notes):
    """A server whose collection was added by a command that was interrupted, and run again."""
    server = start_server()
    command = [*solomon_command(), "index", "add", str(notes), "-c", NAME, "--url", server.url]
    first = subprocess.Popen(command, env=clean_environment(), stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: count(server))
        first.send_signal(signal.SIGINT)
        assert first.wait(300) == 130
    finally:
        first.kill()
    held = count(server)
    again = run(server, "index", "add", notes, "-c", NAME, "--json")
    assert again.returncode == 0, again.stderr
    outcome = json.loads(again.stdout)
    assert outcome["added"] + outcome["unchanged"] == COUNT
    assert outcome["unchanged"] == held >= 64
    assert count(server) == COUNT
    return server


def test_an_interrupted_add_sends_only_what_is_new(filled, notes):
    once_more = json.loads(run(filled, "index", "add", notes, "-c", NAME, "--json").stdout)
    assert (once_more["added"], once_more["unchanged"]) == (0, COUNT)
    notes.write_text(notes.read_text("utf-8").replace("Note 7 is", "Note seven is"), "utf-8")
    changed = json.loads(run(filled, "index", "add", notes, "-c", NAME, "--json").stdout)
    assert (changed["added"], changed["unchanged"]) == (1, COUNT - 1)


def test_a_rebuild_survives_kill_9(filled, trained, tmp_path):
    before = httpx.get(f"{filled.url}/collections/{NAME}").json()
    filled.stop()
    # The same weights under another manifest: another checkpoint, as far as anyone can tell.
    checkpoint = tmp_path / "other"
    shutil.copytree(default_checkpoint(), checkpoint)
    manifest = checkpoint / "solomon.json"
    manifest.write_text(manifest.read_text("utf-8") + "\n", "utf-8")
    server = ServerProcess(filled.data_dir, None, SOLOMON_CHECKPOINT=str(checkpoint))
    try:
        server.start()
        refused = run(server, "search", "the number 700", "-c", NAME)
        assert refused.returncode == 1
        assert f"solomon index rebuild {NAME}" in refused.stderr
        assert httpx.post(f"{server.url}/collections/{NAME}/rebuild").status_code == 202
        wait_until(lambda: httpx.get(f"{server.url}/collections/{NAME}/rebuild").json()["done"] >= 64)
        server.kill()
        server.start()
        if httpx.get(f"{server.url}/collections/{NAME}").json()["model"] == before["model"]:
            rebuilt = run(server, "index", "rebuild", NAME, "--json")
            assert rebuilt.returncode == 0, rebuilt.stderr
            outcome = json.loads(rebuilt.stdout)
            assert (outcome["state"], outcome["done"]) == ("done", COUNT)
            assert outcome["resumed"] >= 64
        after = httpx.get(f"{server.url}/collections/{NAME}").json()
        assert after["count"] == before["count"] == COUNT
        assert after["model"] != before["model"]
        found = run(server, "search", "the number 700", "-c", NAME, "-k", "3", "--json")
        assert len(json.loads(found.stdout)["results"]) == 3
    finally:
        server.stop()
