"""`/metrics` after a mixed load answers what routing saved and what it cost."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.inputs import CAPTIONS, QUESTIONS

# As the design names them; the parser drops a counter's "_total".
NAMES = {
    "solomon_embed_latency_seconds": {"input_type", "route", "decision"},
    "solomon_search_latency_seconds": {"stage", "route"},
    "solomon_route": {"route", "decision"},
    "solomon_route_confidence": set(),
    "solomon_augment_tokens": set(),
    "solomon_augment_seconds_saved": set(),
    "solomon_queue_depth": set(),
    "solomon_queue_wait_seconds": set(),
    "solomon_batch_size": {"phase"},
    "solomon_rejected": {"reason"},
    "solomon_collection_documents": {"collection"},
    "solomon_index_recall": {"collection"},
    "solomon_collection_damaged": {"collection"},
    "solomon_collection_lost_documents": {"collection"},
    "solomon_http_requests": {"path", "status"},
    "solomon_http_request_seconds": {"path"},
    "solomon_requests_in_flight": set(),
    "solomon_engine_seconds": {"phase"},
    "solomon_tokens": {"kind"},
    "solomon_queue_limit": set(),
    "solomon_ready": set(),
    "solomon_build_info": {"version", "model", "checkpoint", "device", "dtype", "decoding"},
    "solomon_collection_unusable": {"collection"},
    "solomon_store_up": set(),
    "solomon_data_free_bytes": set(),
    "solomon_data_size_bytes": set(),
    "solomon_connections": set(),
    "solomon_connections_cut": {"reason"},
}


@pytest.fixture(scope="module")
def families(client):
    for question in QUESTIONS:
        client.post("/embed", json={"input": question, "route": "augment", "max_augment_tokens": 8})
    # A threshold of 1 leaves the decision with the model and the outcome certain.
    client.post("/embed", json={"input": list(CAPTIONS), "augment_threshold": 1})
    client.post("/embed", json={"input": list(CAPTIONS), "route": "embed"})
    client.post("/embed", json={"input": "a document", "input_type": "document"})
    client.post("/search", json={"query": CAPTIONS[0], "route": "embed"})
    client.post("/search", json={"query": CAPTIONS[0], "k": 0})
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return {family.name: family for family in text_string_to_metric_families(response.text)}


def value(families, sample_name, **labels):
    matching = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == sample_name and labels.items() <= sample.labels.items()
    ]
    assert matching, f"{sample_name} {labels}"
    return sum(matching)


@pytest.mark.parametrize("name", NAMES)
def test_every_promised_metric_has_its_labels_and_a_value(families, name):
    family = families[name]
    assert family.documentation
    assert family.samples
    for sample in family.samples:
        assert set(sample.labels) - {"le"} == NAMES[name]


def test_routed_and_forced_latencies_stand_side_by_side(families):
    name = "solomon_embed_latency_seconds"
    for labels in (
        {"route": "augment", "decision": "forced"},
        {"route": "embed", "decision": "forced"},
        {"route": "embed", "decision": "auto"},
    ):
        assert value(families, f"{name}_count", input_type="query", **labels) > 0
        assert value(families, f"{name}_sum", input_type="query", **labels) > 0
    augmented = {"input_type": "query", "route": "augment", "decision": "forced", "le": "+Inf"}
    assert value(families, f"{name}_bucket", **augmented) >= len(QUESTIONS)


def test_routing_saved_time(families):
    assert value(families, "solomon_augment_seconds_saved_total") > 0
    assert value(families, "solomon_route_total", route="embed", decision="auto") >= len(CAPTIONS)
    assert value(families, "solomon_route_confidence_count") >= len(CAPTIONS)
    assert value(families, "solomon_augment_tokens_sum") > 0


def test_batches_queue_refusals_and_documents_are_counted(families):
    assert value(families, "solomon_batch_size_count", phase="prefill") > 0
    assert value(families, "solomon_batch_size_count", phase="decode") > 0
    assert value(families, "solomon_queue_wait_seconds_count") > 0
    assert value(families, "solomon_rejected_total", reason="invalid-input") > 0
    assert value(families, "solomon_search_latency_seconds_count", stage="index", route="embed") > 0
    assert value(families, "solomon_collection_documents", collection="default") > 0
