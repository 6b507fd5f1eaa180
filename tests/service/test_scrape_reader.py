"""A scrape is answered whatever the store does: fails, hangs, or is broken."""

import threading

import pytest

from index.types import CollectionInfo, StoreUnreachable
from service.metrics import Metrics
from service.scrape_reader import ScrapeReader
from tests.service.test_metrics import value


class Embedder:
    queue_depth = 3


class Hanging:
    """A store that does not answer until it is let go; counts how often it was asked."""

    def __init__(self):
        self.asked, self.let_go = 0, threading.Event()

    def list(self):
        self.asked += 1
        assert self.let_go.wait(60)
        return [CollectionInfo("c", 5, 8, "unusable", "m", damage="gone")]


class Unreachable:
    def list(self):
        raise StoreUnreachable("Milvus does not answer.")


def scraped(reader):
    metrics = Metrics()
    metrics.read_at_scrape(reader)
    return metrics.render()[0].decode()


def test_a_store_that_hangs_is_down_and_is_asked_once():
    store = Hanging()
    reader = ScrapeReader(Embedder(), store, None, store_seconds=0.01)
    for _ in range(3):
        text = scraped(reader)
        assert value(text, "solomon_store_up") == 0
        assert value(text, "solomon_queue_depth") == 3
    assert store.asked == 1
    store.let_go.set()
    text = scraped(ScrapeReader(Embedder(), store, None))
    assert value(text, "solomon_store_up") == 1
    assert value(text, 'solomon_collection_documents{collection="c"}') == 5
    assert value(text, 'solomon_collection_unusable{collection="c"}') == 1


def test_a_store_that_does_not_answer_is_down_and_shows_no_collections():
    text = scraped(ScrapeReader(Embedder(), Unreachable(), None))
    assert value(text, "solomon_store_up") == 0
    assert "solomon_collection_documents{" not in text


def test_a_fault_of_ours_is_not_taken_for_an_outage():
    class Broken:
        def list(self):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ScrapeReader(Embedder(), Broken(), None).collections()


def test_the_disk_is_that_of_the_data_directory_where_there_is_one(tmp_path):
    text = scraped(ScrapeReader(Embedder(), Unreachable(), tmp_path))
    assert 0 <= value(text, "solomon_data_free_bytes") <= value(text, "solomon_data_size_bytes")
    for missing in (None, tmp_path / "gone"):
        assert "\nsolomon_data_free_bytes " not in scraped(ScrapeReader(Embedder(), Unreachable(), missing))
