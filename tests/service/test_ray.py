"""`solomon index add --engine ray` on a cluster of two machines, which are processes here."""

import json
import os
import signal
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster as LocalCluster

from model.engine import Engine, EngineSettings
from service.app import create_app
from service.cli import ray_adding
from service.cli.adding import _add_by_server
from service.cli.exits import CommandFailed
from service.cli.ray_worker import Claims, CorpusWorker
from service.client.outcomes import Outcome
from service.corpus.portions import split
from service.vector_space import vector_space
from tests.model.tiny import load_tiny
from tests.service.images import encoded
from tests.service.test_openai import listening

SHA = "ab" * 32  # of the server's model in tests


class DyingEngine(Engine):
    """Kills its process once, when it is to embed a text with this word in it."""

    def __init__(self, marker):
        super().__init__(load_tiny(checkpoint_sha256=SHA), EngineSettings(threads=1, dtype="float32"))
        self._marker = marker

    def embed(self, items, options):
        if any("deadly" in (item.text or "") for item in items) and not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(items, options)


class OtherEngine(Engine):
    """An engine of another checkpoint than the server's."""

    def __init__(self):
        super().__init__(load_tiny(checkpoint_sha256="cd" * 32), EngineSettings(threads=1, dtype="float32"))


@pytest.fixture(scope="module")
def cluster():
    cluster = LocalCluster()
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20, include_dashboard=False)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def served(make_settings, open_backend):
    settings = make_settings()
    app = create_app(settings, open_backend(settings))
    with listening(app) as url:
        yield url, app.state.runtime


@pytest.fixture
def corpus(tmp_path):
    """Two files of rows, a folder of pictures, and a bad item of each kind."""
    rows = [{"id": f"row-{n}", "text": f"text {n}", "n": n} for n in range(40)]
    rows[13]["text"] = "a deadly text"
    rows[20]["text"] = "too long " * 200
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "no json\n")
    (tmp_path / "more.csv").write_text("text,kind\n" + "".join(f"more {n},csv\n" for n in range(30)))
    (tmp_path / "photos").mkdir()
    for n in range(5):
        (tmp_path / "photos" / f"{n}.png").write_bytes(encoded(colour=(40 * n, 10, 200)))
    (tmp_path / "photos" / "bad.png").write_text("no picture")
    return [tmp_path / "rows.jsonl", tmp_path / "more.csv", tmp_path / "photos"]


def summed(job):
    total = Outcome()

    def report(part):
        total.added += part.added
        total.unchanged += part.unchanged
        total.failures += part.failures

    job(report)
    return total


def everything(store, collection):
    return {document.id: document for batch in store.export(collection) for document in batch}


def test_two_workers_make_what_one_server_makes(cluster, served, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_adding, "PORTION", 10)
    url, runtime = served
    alone = summed(lambda report: _add_by_server(corpus, "alone", url, None, report))

    def with_ray(report):
        marker = tmp_path / "died"
        ray_adding.add_with_ray(
            corpus, "shared", url, None, ray_adding.Cluster(workers=2), report, lambda: DyingEngine(marker)
        )

    together = summed(with_ray)
    assert (tmp_path / "died").exists()  # a worker was killed, and its work done again
    assert sorted(f.source for f in together.failures) == sorted(f.source for f in alone.failures)
    assert (alone.added, len(alone.failures)) == (74, 3)
    assert together.added + together.unchanged == 74
    store = runtime.services.backend.store
    first, second = everything(store, "alone"), everything(store, "shared")
    assert first.keys() == second.keys()
    for document_id, document in first.items():
        other = second[document_id]
        assert (document.text, document.image, document.metadata) == (
            other.text,
            other.image,
            other.metadata,
        )
        np.testing.assert_allclose(document.vector, other.vector, atol=1e-5)


def test_a_worker_finds_what_is_there_and_sends_what_is_new(served, corpus, tmp_path):
    """What a worker does, without a cluster around it."""
    url, runtime = served
    summed(lambda report: _add_by_server(corpus[:1], "c", url, None, report))
    engine = runtime.services.backend.embedder
    worker = CorpusWorker(lambda: engine, "c", vector_space(engine.info), url, None, None, Claims().claim)
    portions = [json.dumps(asdict(part)) for part in split(corpus, Path.cwd(), 25)]
    rows = [json.loads(row) for row in worker({"portion": portions})["outcome"]]
    assert sum(row["added"] for row in rows) == 35
    assert sum(row["unchanged"] for row in rows) == 39
    assert [source for row in rows for source, _ in row["failures"]] == [
        f"{corpus[0]}:21",
        f"{corpus[0]}:41",
        f"{corpus[2]}/bad.png",
    ]
    again = [json.loads(row) for row in worker({"portion": portions[:1]})["outcome"]]
    assert (again[0]["unchanged"], len(again[0]["failures"])) == (24, 1)  # the same sources as before


def test_an_id_that_two_files_give_is_written_from_one_and_refused_by_name_from_the_other(
    cluster, served, tmp_path, monkeypatch
):
    monkeypatch.setattr(ray_adding, "PORTION", 5)
    url, runtime = served
    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for file in files:
        rows = [{"id": f"same-{n}", "text": f"{file.stem} {n}"} for n in range(15)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def with_ray(report):
        settings = ray_adding.Cluster(workers=2)
        marker = tmp_path / "died"
        ray_adding.add_with_ray(files, "twice", url, None, settings, report, lambda: DyingEngine(marker))

    outcome = summed(with_ray)
    assert (outcome.added, outcome.unchanged, len(outcome.failures)) == (15, 0, 15)
    refused = {failure.source.split(":")[0] + failure.source.split(":")[1] for failure in outcome.failures}
    assert all("was used before in this run" in failure.reason for failure in outcome.failures)
    stored = everything(runtime.services.backend.store, "twice")
    for n in range(15):
        file = next(file for file in files if stored[f"same-{n}"].text == f"{file.stem} {n}")
        other = next(other for other in files if other != file)
        assert f"{other}{n + 1}" in refused


def test_workers_with_another_checkpoint_are_refused(cluster, served, corpus):
    def with_ray(report):
        ray_adding.add_with_ray(corpus, "x", served[0], None, ray_adding.Cluster(), report, OtherEngine)

    with pytest.raises(CommandFailed) as failed:
        summed(with_ray)
    assert "--checkpoint" in failed.value.message
