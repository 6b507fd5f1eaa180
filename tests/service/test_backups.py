"""Backups, restoring and verifying over HTTP and from the command line."""

import base64
import hashlib
import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from typer.testing import CliRunner

from index.collection import LOG_FILE
from index.store import FaissStore
from service.cli import app as command_line
from service.runtime import STORE_THREADS
from tests.service.images import data_uri, encoded
from tests.service.problems import fields, problem

RED = encoded(colour=(220, 20, 20))
DOCUMENTS = [
    {"id": "a", "text": "alpha", "metadata": {"kind": "letter"}},
    {"id": "red", "image": data_uri(RED)},
]


@pytest.fixture
def filled(client):
    assert client.post("/collections/default/documents", json={"documents": DOCUMENTS}).status_code == 201
    return client


@pytest.fixture
def solomon(filled, monkeypatch):
    """Runs a command against the test application; returns its exit code and what it printed."""
    create = httpx.Client

    def to_application(**options):
        def handle(request):
            answer = filled.request(
                request.method, request.url.raw_path.decode(), content=request.read(), headers=request.headers
            )
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

        return create(**{**options, "transport": httpx.MockTransport(handle)})

    monkeypatch.setattr(httpx, "Client", to_application)

    def run(*arguments):
        done = CliRunner().invoke(command_line, [*map(str, arguments)])
        # JSON is promised on standard output; a library's warning may come on the other at any moment.
        return done.exit_code, done.stdout if "--json" in arguments else done.output

    return run


def test_a_backup_becomes_another_collection(filled):
    backup = filled.get("/collections/default/backup")
    assert (backup.status_code, int(backup.headers["content-length"])) == (200, len(backup.content))
    digest = base64.b64encode(hashlib.sha256(backup.content).digest()).decode()
    assert backup.headers["repr-digest"] == f"sha-256=:{digest}:"
    made = filled.put("/collections/copy/backup", content=backup.content)
    assert (made.status_code, made.json()["count"], made.json()["name"]) == (201, 2, "copy")
    assert filled.get("/collections/copy/documents/red/image").content == RED
    assert filled.get("/collections/copy/documents/a").json()["metadata"] == {"kind": "letter"}
    query = {"query": "alpha", "route": "embed", "k": 2}
    results = [
        filled.post("/search", json={**query, "collection": name}).json()["results"]
        for name in ("default", "copy")
    ]
    assert [(hit["id"], hit["score"]) for hit in results[0]] == [
        (hit["id"], hit["score"]) for hit in results[1]
    ]


def test_restoring_over_a_collection_has_to_be_asked_for(filled):
    backup = filled.get("/collections/default/backup").content
    assert filled.delete("/collections/default/documents/a").status_code == 204
    problem(filled.put("/collections/default/backup", content=backup), 409, "collection-exists")
    problem(filled.get("/collections/default/documents/a"), 404, "unknown-document")
    replaced = filled.put("/collections/default/backup?replace=true", content=backup)
    assert (replaced.status_code, replaced.json()["count"]) == (200, 2)
    assert filled.get("/collections/default/documents/a").status_code == 200


def test_what_is_no_backup_is_refused_and_makes_no_collection(filled):
    backup = bytearray(filled.get("/collections/default/backup").content)
    backup[len(backup) // 3] ^= 16
    spare = filled.get("/collections/default/backup").content
    for content, headers in (
        (b"", {}),
        (b"something else" * 1000, {}),
        (spare[: len(spare) // 2], {}),
        (spare, {"Repr-Digest": f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"}),
    ):
        refused = filled.put("/collections/new/backup", content=content, headers=headers)
        assert fields(problem(refused, 422, "invalid-input")) == ["backup"]
    names = [info["name"] for info in filled.get("/collections").json()["collections"]]
    assert names == ["default"]
    problem(filled.get("/collections/nothing/backup"), 404, "unknown-collection")


def test_backups_have_a_size_limit_of_their_own(serve):
    with serve(max_body_bytes=20_000, max_backup_bytes=10_000_000) as client:
        backup = client.get("/collections/default/backup").content
        assert len(backup) > 20_000
        assert client.put("/collections/copy/backup", content=backup).status_code == 201
        problem(client.put("/collections/copy", content=backup), 413, "body-too-large")
    with serve(max_backup_bytes=20_000) as client:
        problem(client.put("/collections/other/backup", content=backup), 413, "body-too-large")


def test_verifying_names_damage_and_repairs_it(filled, make_settings):
    assert filled.post("/collections/default/verify").json() == {
        "name": "default",
        "documents": 2,
        "damage": [],
        "losses": [],
    }
    log = make_settings().data_dir / "collections" / "default" / LOG_FILE
    with sqlite3.connect(log) as other:
        other.execute("UPDATE documents SET text = 'another' WHERE id = 'a'")
    other.close()
    found = filled.post("/collections/default/verify").json()
    assert any("'a'" in damage for damage in found["damage"])
    repaired = filled.post("/collections/default/verify?repair=true").json()
    assert [loss["id"] for loss in repaired["losses"]] == ["a"]
    assert filled.get("/collections/default").json()["lost"] == 1
    problem(filled.get("/collections/default/documents/a"), 404, "unknown-document")
    assert filled.get("/collections/default/documents/red/image").content == RED


def test_a_collection_that_cannot_be_salvaged_does_not_stop_the_server(serve, make_settings):
    with serve() as client:
        client.put("/collections/other")
    folder = make_settings().data_dir / "collections" / "other"
    for file in folder.iterdir():
        file.write_bytes(b"nothing that can be read" * 1000)
    with serve() as client:
        listed = {c["name"]: c for c in client.get("/collections").json()["collections"]}
        assert {name: c["index_kind"] for name, c in listed.items()} == {
            "default": "flat",
            "other": "unusable",
        }
        assert listed["default"]["damage"] is None
        assert "Restore a backup, or drop the collection." in listed["other"]["damage"]
        metrics = client.get("/metrics").text
        assert 'solomon_collection_damaged{collection="other"} 1.0' in metrics
        problem(client.get("/collections/other"), 500, "unusable-collection")
        assert client.post("/collections/other/verify").json()["damage"]
        assert client.delete("/collections/other").status_code == 204


def test_the_commands_back_up_restore_and_verify(solomon, tmp_path):
    file = tmp_path / "default.backup"
    code, output = solomon("index", "backup", "default", file, "--json")
    assert code == 0, output
    report = json.loads(output)
    assert report["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert solomon("index", "backup", "default", file)[0] == 2  # not over an existing file
    code, output = solomon("index", "restore", file)
    assert (code, "exists" in output) == (1, True)
    code, output = solomon("index", "restore", file, "--name", "second")
    assert (code, "2 documents" in output) == (0, True)
    code, output = solomon("index", "restore", file, "--replace", "--json")
    assert (code, json.loads(output)["count"]) == (0, 2)
    code, output = solomon("index", "verify", "--json")
    assert code == 0
    assert [report["name"] for report in json.loads(output)["collections"]] == ["default", "second"]
    assert list(tmp_path.glob("*.part")) == []


def test_verify_ends_with_1_where_documents_were_lost(solomon, make_settings):
    log = make_settings().data_dir / "collections" / "default" / LOG_FILE
    with sqlite3.connect(log) as other:
        other.execute("DELETE FROM vectors WHERE row = (SELECT row FROM documents WHERE id = 'a')")
    other.close()
    code, output = solomon("index", "verify", "default", "--repair")
    assert (code, "lost: a" in output) == (1, True)
    assert solomon("index", "verify", "default")[0] == 1


def test_restore_wants_a_file_that_says_what_it_is(solomon, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("not a backup at all " * 100)
    code, output = solomon("index", "restore", file)
    assert (code, "not a Solomon backup" in output) == (2, True)


def test_searches_do_not_queue_behind_what_reads_whole_collections(filled, monkeypatch):
    release, left = threading.Event(), []
    verify = FaissStore.verify

    def slow(store, name, *, repair=False):
        if not release.wait(30):
            left.append(name)
        return verify(store, name, repair=repair)

    monkeypatch.setattr(FaissStore, "verify", slow)
    with ThreadPoolExecutor(STORE_THREADS) as callers:
        calls = [callers.submit(filled.post, "/collections/default/verify") for _ in range(STORE_THREADS)]
        found = filled.post("/search", json={"query": "alpha", "route": "embed"})
        release.set()
    assert (found.status_code, left) == (200, [])
    assert [call.result().json()["damage"] for call in calls] == [[]] * STORE_THREADS
