"""Collections that change their index in the background: when, to what, and what that leaves as it was."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import upkeep
from index.ann import HNSW, IVF, AnnSegment
from index.ann_training import SegmentTraining
from index.collection import LOG_FILE, SNAPSHOT_FILE
from index.recall import PROBES, Probes
from index.settings import IndexSettings
from index.store import FaissStore
from index.types import CollectionInfo, NewDocument, Vectors
from index.view import View

D = 16
RNG = np.random.default_rng(17)
CENTRES = RNG.normal(size=(40, D))


def made_vectors(count: int) -> Vectors:
    noisy = CENTRES[RNG.integers(0, len(CENTRES), count)] + 0.5 * RNG.normal(size=(count, D))
    return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)


VECTORS = made_vectors(4000)


def documents(start: int, stop: int) -> list[NewDocument]:
    return [NewDocument(f"doc-{n}", VECTORS[n], None, None, {"parity": n % 2}) for n in range(start, stop)]


def settled(store: FaissStore) -> CollectionInfo:
    return store._collection("things").settled()


def segment_of(store: FaissStore) -> AnnSegment:
    segment = store._collection("things")._views.current.layout.segment
    assert segment is not None
    return segment


@pytest.fixture
def opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FaissStore]]:
    """Opens a store with settings; closes the one that was open."""
    monkeypatch.setattr(upkeep, "_MIN_TAIL", 200)
    opened: list[FaissStore] = []

    def reopen(**settings: object) -> FaissStore:
        if opened:
            opened.pop().close()
        opened.append(FaissStore(tmp_path, index=IndexSettings(**settings)))  # type: ignore[arg-type]
        opened[0].create("things", D, "m")
        return opened[0]

    yield reopen
    opened.pop().close()


def nearest(query: Vectors, numbers: np.ndarray, k: int = 10) -> list[str]:
    return [f"doc-{n}" for n in numbers[np.argsort(-(VECTORS[numbers] @ query), kind="stable")[:k]]]


def recall(store: FaissStore, numbers: np.ndarray) -> float:
    found = 0
    for query in made_vectors(30):
        hits = store.search("things", query, 10)
        found += len({hit.document.id for hit in hits} & set(nearest(query, numbers)))
    return found / 300


def test_a_collection_that_grows_becomes_approximate_and_a_restart_keeps_that(
    opening: Callable[..., FaissStore], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opening(flat_threshold=1500)
    store.upsert("things", documents(0, 1400))
    assert (settled(store).index_kind, settled(store).recall) == ("flat", 1.0)
    assert recall(store, np.arange(1400)) == 1.0
    store.upsert("things", documents(1400, 2000))
    info = settled(store)
    assert info.index_kind == IVF
    assert info.recall is not None
    assert info.recall >= 0.95
    assert recall(store, np.arange(2000)) >= 0.95
    store.upsert("things", documents(2000, 2150))  # too few to be absorbed
    store.delete_document("things", "doc-3")
    trained_for = segment_of(store).trained_for

    caplog.set_level(logging.WARNING)
    store = opening(flat_threshold=1500)
    assert segment_of(store).trained_for == trained_for  # it was not trained again
    assert len(segment_of(store).rows) == 2000
    assert "rebuilt" not in caplog.text
    assert store.get("things") == CollectionInfo("things", 2149, D, IVF, "m")
    assert store.search("things", VECTORS[2100], 1)[0].document.id == "doc-2100"
    assert "doc-3" not in {hit.document.id for hit in store.search("things", VECTORS[3], 100)}

    snapshot = tmp_path / "collections" / "things" / SNAPSHOT_FILE
    store.close()
    content = bytearray(snapshot.read_bytes())
    content[len(content) // 2] ^= 4
    snapshot.write_bytes(content)
    store = opening(flat_threshold=1500)
    assert "rebuilt the view of collection things: no usable snapshot (its checksum is wrong)" in caplog.text
    assert settled(store).index_kind == IVF
    assert store.get("things").count == 2149


def test_what_is_written_later_is_absorbed(opening: Callable[..., FaissStore]) -> None:
    store = opening(flat_threshold=1000)
    store.upsert("things", documents(0, 1200))
    settled(store)
    first = segment_of(store)
    store.upsert("things", documents(1000, 1700))
    settled(store)
    second = segment_of(store)
    assert (first.trained_for, second.trained_for) == (1200, 1200)
    assert len(second.rows) == 1200 + 700  # 200 of the first are dead
    assert recall(store, np.arange(1700)) >= 0.95
    assert store.get("things").count == 1700


def test_what_few_writes_left_is_absorbed_when_they_have_ceased(
    opening: Callable[..., FaissStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_QUIET_TAIL", 20)
    monkeypatch.setattr(upkeep, "_SEARCHES_BETWEEN_LOOKS", 4)
    store = opening(flat_threshold=1000)
    store.upsert("things", documents(0, 1200))
    settled(store)

    def search(times: int) -> None:
        for query in made_vectors(times):
            store.search("things", query, 3)

    for start in (1200, 1230):
        store.upsert("things", documents(start, start + 30))
        search(4)
    assert settled(store).count == 1260
    assert len(segment_of(store).rows) == 1200  # something was written between the last two looks
    search(4)
    settled(store)
    assert len(segment_of(store).rows) == 1260


def test_a_collection_that_shrinks_is_flat_again(
    opening: Callable[..., FaissStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_MIN_DEAD", 50)
    monkeypatch.setattr("index.settings.LEAST_TRAINABLE", 100)
    store = opening(flat_threshold=150)
    store.upsert("things", documents(0, 200))
    assert settled(store).index_kind != "flat"
    for number in range(110):
        store.delete_document("things", f"doc-{number}")
    assert settled(store).index_kind == "flat"
    assert recall(store, np.arange(110, 200)) == 1.0


def test_recall_is_measured_on_what_the_index_was_not_fitted_to(
    opening: Callable[..., FaissStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[Vectors] = []
    asked: list[Vectors] = []
    train, of = SegmentTraining._train, Probes.of

    def training(self: SegmentTraining, kind: str, index: Any, sample: Vectors) -> None:
        fitted.append(sample.copy())
        train(self, kind, index, sample)

    def probing(rows: Sequence[int], vectors: Vectors, searched: Sequence[Vectors]) -> Probes:
        asked.append(vectors.copy())
        return of(rows, vectors, searched)

    monkeypatch.setattr(SegmentTraining, "_train", training)
    monkeypatch.setattr(Probes, "of", probing)
    store = opening(kind=IVF, flat_threshold=1)
    store.upsert("things", documents(0, 1200))
    assert settled(store).index_kind == IVF
    (sample,), (probes,) = fitted, asked
    assert len(probes) == PROBES
    numbers = [int(number) for number in (np.concatenate([sample, probes]) @ VECTORS[:1200].T).argmax(axis=1)]
    assert sorted(numbers) == list(range(1200))  # each in one of the two, and none in both


@pytest.mark.parametrize("kind", [IVF, HNSW])
def test_a_kind_that_is_asked_for_is_used_and_flat_stays_flat(
    opening: Callable[..., FaissStore], kind: str
) -> None:
    store = opening(kind="flat", flat_threshold=1)
    store.upsert("things", documents(0, 1100))
    assert settled(store).index_kind == "flat"
    store = opening(kind=kind)
    assert settled(store).index_kind == kind
    assert recall(store, np.arange(1100)) >= 0.95
    store = opening(kind="flat")
    assert settled(store).index_kind == "flat"
    assert recall(store, np.arange(1100)) == 1.0


def test_an_index_below_the_floor_gives_way_to_another_and_then_to_flat(
    opening: Callable[..., FaissStore], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []
    train = SegmentTraining.segment

    def refuse(bad: set[str]) -> Callable[..., AnnSegment | None]:
        def segment(
            self: SegmentTraining, kind: str, view: View, searched: list[Vectors]
        ) -> AnnSegment | None:
            tried.append(kind)
            return None if kind in bad else train(self, kind, view, searched)

        return segment

    monkeypatch.setattr(SegmentTraining, "segment", refuse({IVF}))
    store = opening(flat_threshold=1000)
    store.upsert("things", documents(0, 1100))
    assert settled(store).index_kind == HNSW
    monkeypatch.setattr(SegmentTraining, "measured", lambda *_: None)  # recall has fallen
    store._collection("things")._upkeep._measure = True
    store._collection("things")._upkeep.look()
    assert settled(store).index_kind == "flat"
    assert "recall fell below 0.95" in caplog.text
    assert recall(store, np.arange(1100)) == 1.0
    assert tried == [IVF, HNSW]
    store.upsert("things", documents(1100, 2100))
    settled(store)
    assert tried == [IVF, HNSW]  # it is tried again when there are twice as many
    monkeypatch.setattr(SegmentTraining, "segment", refuse({IVF, HNSW}))
    store.upsert("things", documents(2100, 2300))
    assert settled(store).index_kind == "flat"
    assert tried == [IVF, HNSW, IVF, HNSW]


def test_reads_and_writes_go_on_while_an_index_is_made(
    opening: Callable[..., FaissStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training is held up half-way; what is written and deleted meanwhile is in the switched view."""
    begun, go_on = threading.Event(), threading.Event()
    add = SegmentTraining._add

    def slow(self: SegmentTraining, index: object, vectors: Vectors) -> None:
        begun.set()
        go_on.wait(timeout=60)
        add(self, index, vectors)

    monkeypatch.setattr(SegmentTraining, "_add", slow)
    store = opening(flat_threshold=1000)
    store.upsert("things", documents(0, 1500))
    begun.wait(timeout=60)
    store.upsert("things", documents(1400, 1600))
    store.delete_document("things", "doc-7")
    assert store.search("things", VECTORS[1599], 1)[0].document.id == "doc-1599"
    assert store.get("things").index_kind == "flat"
    go_on.set()
    info = settled(store)
    assert (info.index_kind, info.count) == (IVF, 1599)
    live = np.array([n for n in range(1600) if n != 7])
    assert recall(store, live) >= 0.95
    assert {hit.document.id for hit in store.search("things", VECTORS[7], 20)}.isdisjoint({"doc-7"})


def test_closing_gives_up_what_is_under_way(
    opening: Callable[..., FaissStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()
    fit = SegmentTraining._fit_cells

    def wait_for_closing(self: SegmentTraining, index: object, sample: Vectors) -> None:
        begun.set()
        assert self._stopping.wait(timeout=60)
        fit(self, index, sample)

    monkeypatch.setattr(SegmentTraining, "_fit_cells", wait_for_closing)
    store = opening(flat_threshold=1000)
    store.upsert("things", documents(0, 1500))
    begun.wait(timeout=60)
    store.close()
    monkeypatch.setattr(SegmentTraining, "_fit_cells", fit)
    store = opening(flat_threshold=1000)
    assert (settled(store).index_kind, store.get("things").count) == (IVF, 1500)


def test_a_failed_upkeep_is_logged_and_the_collection_goes_on(
    opening: Callable[..., FaissStore], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no memory for cells")

    monkeypatch.setattr(SegmentTraining, "_fit_cells", fail)
    store = opening(flat_threshold=1000)
    store.upsert("things", documents(0, 1100))
    assert settled(store).index_kind == "flat"
    assert "no memory for cells" in caplog.text
    assert recall(store, np.arange(1100)) == 1.0


def test_damage_that_upkeep_meets_is_told_and_the_next_call_has_it_mended(
    opening: Callable[..., FaissStore], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opening(kind="flat")
    store.upsert("things", documents(0, 1100))
    settled(store)
    with closing(sqlite3.connect(tmp_path / "collections" / "things" / LOG_FILE)) as log:
        log.execute("UPDATE vectors SET vector = zeroblob(64) WHERE row = 500")
        log.commit()
    store._collection("things")._upkeep._settings = IndexSettings(kind=HNSW)
    store._collection("things")._upkeep.look()
    info = settled(store)
    assert info.index_kind == "flat"
    assert "row 500" in str(info.damage)
    assert info.damage in [listed.damage for listed in store.list()]
    assert f"upkeep of collection things: {info.damage}" in caplog.text
    assert len(store.search("things", VECTORS[0], 1000)) == 1000
    assert (store.get("things").damage, store.get("things").lost) == (None, 1)
    assert [loss.id for loss in store.verify("things").losses] == ["doc-499"]


def test_recall_is_measured_again_on_what_was_searched_for(
    opening: Callable[..., FaissStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_SEARCHES_BETWEEN_LOOKS", 20)
    monkeypatch.setattr(upkeep, "_SEARCHES_BETWEEN_MEASUREMENTS", 20)
    seen: list[int] = []
    measured = SegmentTraining.measured

    def watched(self: SegmentTraining, view: View, searched: list[Vectors]) -> AnnSegment | None:
        seen.append(len(searched))
        return measured(self, view, searched)

    monkeypatch.setattr(SegmentTraining, "measured", watched)
    store = opening(flat_threshold=1000)
    store.upsert("things", documents(0, 1100))
    settled(store)
    for query in made_vectors(45):
        store.search("things", query, 3)
    info = settled(store)
    assert seen
    assert all(count >= 20 for count in seen)
    assert info.recall is not None
    assert info.recall >= 0.95


def test_readers_and_a_writer_across_many_switches(opening: Callable[..., FaissStore]) -> None:
    """Documents that are never deleted are found throughout, wherever the view has them."""
    store = opening(flat_threshold=1000)
    store.upsert("things", documents(0, 900))
    finished = threading.Event()

    def read(seed: int) -> int:
        rng, searches = np.random.default_rng(seed), 0
        while not finished.is_set():
            number = int(rng.integers(0, 900))
            [hit] = store.search("things", VECTORS[number], 1, {"parity": number % 2})
            assert hit.document.id == f"doc-{number}"
            searches += 1
        return searches

    def write() -> None:
        try:
            for start in range(900, 3600, 150):
                store.upsert("things", documents(start, start + 150))
                store.delete_document("things", f"doc-{start}")
        finally:
            finished.set()

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read, seed) for seed in range(2)]
        pool.submit(write).result()
        assert all(reader.result() for reader in readers)
    info = settled(store)
    assert (info.index_kind, info.count) == (IVF, 3600 - 18)


class FakeGpu:
    """Stands where FAISS's GPU index would: the CPU index, and a count of what was asked of it."""

    used = 0

    def __init__(self, index: Any) -> None:
        self.index = index

    def search(self, query: Vectors, wanted: int, parameters: Any) -> tuple[np.ndarray, np.ndarray]:
        FakeGpu.used += 1
        scores, positions = self.index.search(query.reshape(1, -1), wanted, params=parameters)
        return scores[0], positions[0]


def test_with_a_gpu_searches_go_to_it_but_for_those_that_select(
    opening: Callable[..., FaissStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU itself computes is not tested here: there is none in this suite."""
    monkeypatch.setattr("index.gpu.GpuIndex", FakeGpu)
    monkeypatch.setattr("index.gpu.has_gpu", lambda: True)
    store = opening(flat_threshold=1000, gpu=True)
    store.upsert("things", documents(0, 1100))
    assert settled(store).index_kind == IVF
    store = opening(flat_threshold=1000, gpu=True)  # from the snapshot, onto the GPU again
    FakeGpu.used = 0
    assert recall(store, np.arange(1100)) >= 0.95
    assert FakeGpu.used == 30
    store.search("things", VECTORS[0], 3, {"parity": 1})
    store.delete_document("things", "doc-0")
    store.search("things", VECTORS[0], 3)
    assert FakeGpu.used == 30


def test_a_gpu_that_is_not_there_is_said(
    opening: Callable[..., FaissStore], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("index.ann_training.has_gpu", lambda: False)
    opening(gpu=True)
    assert "no GPU for the index: FAISS sees none" in caplog.text
    monkeypatch.setattr("index.ann_training.installed_builds", lambda: ["faiss-cpu", "faiss-gpu-cu12"])
    opening(gpu=True)
    assert "run: pip uninstall -y faiss-cpu faiss-gpu-cu12" in caplog.text


@pytest.mark.parametrize(
    "wrong", [{"kind": "pq"}, {"recall_floor": 0.0}, {"recall_floor": 1.5}, {"flat_threshold": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        IndexSettings(**wrong)
