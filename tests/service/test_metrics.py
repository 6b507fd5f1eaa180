import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.types import Embedding, InputType, Route
from service.metrics import Metrics, MovingMean

NAMES = [
    "solomon_embed_latency_seconds",
    "solomon_search_latency_seconds",
    "solomon_route_total",
    "solomon_route_confidence",
    "solomon_augment_tokens",
    "solomon_augment_seconds_saved_total",
    "solomon_queue_depth",
    "solomon_queue_wait_seconds",
    "solomon_batch_size",
    "solomon_rejected_total",
    "solomon_collection_documents",
    "solomon_index_recall",
    "solomon_collection_damaged",
    "solomon_collection_lost_documents",
    "solomon_http_requests_total",
    "solomon_http_request_seconds",
    "solomon_requests_in_flight",
    "solomon_engine_seconds_total",
    "solomon_tokens_total",
    "solomon_queue_limit",
    "solomon_ready",
    "solomon_build_info",
    "solomon_collection_unusable",
    "solomon_store_up",
    "solomon_data_free_bytes",
    "solomon_data_size_bytes",
    "solomon_connections",
    "solomon_connections_cut_total",
    "process_resident_memory_bytes",
]


def embedding(route, decision, seconds, augmenting=0.0):
    return Embedding(
        vector=None,
        route=route,
        decision=decision,
        confidence=0.9,
        augmentation=None,
        prompt_tokens=1,
        image_tokens=0,
        augment_tokens=0,
        queue_seconds=0.0,
        compute_seconds=seconds,
        augment_seconds=augmenting,
    )


def value(text, sample):
    match = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    assert match is not None, sample
    return float(match[1])


def test_after_a_mixed_load_every_name_has_a_value(client):
    client.post("/collections/default/documents", json={"documents": [{"text": "a"}, {"text": "b"}]})
    client.post("/embed", json={"input": "x", "route": "augment"})
    client.post("/embed", json={"input": ["x", "y"], "route": "embed"})
    client.post("/embed", json={"input": "x", "augment_threshold": 1})
    client.post("/search", json={"query": "x"})
    client.post("/search", json={"vector": [1.0] * 64})
    client.post("/search", json={"query": "x", "k": 0})
    text = client.get("/metrics").text
    for name in NAMES:
        assert re.search(rf"^{name}(_count|_bucket)?({{.*}})? \S+$", text, re.MULTILINE), name
    latency = "solomon_embed_latency_seconds_count"
    labels = '{{decision="{}",input_type="{}",route="{}"}}'
    assert value(text, latency + labels.format("forced", "query", "augment")) == 1
    assert value(text, latency + labels.format("forced", "query", "embed")) == 2
    assert value(text, latency + labels.format("forced", "document", "embed")) == 2
    assert value(text, 'solomon_route_total{decision="forced",route="embed"}') == 2
    assert value(text, 'solomon_collection_documents{collection="default"}') == 2
    assert value(text, 'solomon_index_recall{collection="default"}') == 1
    assert value(text, 'solomon_collection_damaged{collection="default"}') == 0
    assert value(text, 'solomon_collection_lost_documents{collection="default"}') == 0
    assert value(text, 'solomon_rejected_total{reason="invalid-input"}') == 1
    assert value(text, 'solomon_search_latency_seconds_count{route="none",stage="total"}') == 1
    assert value(text, "solomon_queue_depth") == 0


def test_applications_share_no_metrics(serve, tmp_path):
    with serve(data_dir=tmp_path / "a") as one, serve(data_dir=tmp_path / "b") as other:
        one.post("/embed", json={"input": "x", "route": "embed"})
        assert 'decision="forced"' in one.get("/metrics").text
        assert 'decision="forced"' not in other.get("/metrics").text


def saved(metrics):
    return value(metrics.render()[0].decode(), "solomon_augment_seconds_saved_total")


def test_saving_is_the_moving_cost_of_augmenting():
    metrics = Metrics()
    metrics.on_embedding(embedding(Route.EMBED, "auto", 0.2), InputType.QUERY, 0.2)
    assert saved(metrics) == 0, "nothing is known yet of what augmenting costs"
    metrics.on_embedding(embedding(Route.AUGMENT, "forced", 1.2, 1.0), InputType.QUERY, 1.3)
    assert saved(metrics) == 0
    metrics.on_embedding(embedding(Route.EMBED, "auto", 7.0), InputType.QUERY, 7.0)
    assert saved(metrics) == pytest.approx(1.0), "what the pass took would have come before an answer too"
    metrics.on_embedding(embedding(Route.EMBED, "forced", 0.2), InputType.QUERY, 0.2)
    metrics.on_embedding(embedding(None, None, 0.2), InputType.DOCUMENT, 0.2)
    assert saved(metrics) == pytest.approx(1.0), "only what the model itself routed counts"


@given(
    st.lists(st.tuples(st.sampled_from(list(Route)), st.sampled_from(["auto", "forced"]), st.floats(0, 100)))
)
def test_savings_never_shrink(observations):
    metrics = Metrics()
    before = 0.0
    for route, decision, seconds in observations:
        augmenting = seconds / 2 if route is Route.AUGMENT else 0.0
        metrics.on_embedding(embedding(route, decision, seconds, augmenting), InputType.QUERY, seconds)
        after = saved(metrics)
        assert after >= before
        before = after


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_moving_mean_stays_among_its_values(values, weight):
    mean = MovingMean(weight)
    for entry in values:
        mean.add(entry)
    assert min(values) - 1e-6 <= mean.value <= max(values) + 1e-6


def test_a_remembered_embedding_counts_no_tokens_and_moves_no_saving():
    metrics, saved = Metrics(), "solomon_augment_seconds_saved_total"
    metrics.on_embedding(embedding(Route.AUGMENT, "forced", 1.0, 0.75), InputType.QUERY, 1.0)
    for _ in range(50):
        metrics.on_embedding(embedding(Route.AUGMENT, "forced", 0.0), InputType.QUERY, 0.0)
    metrics.on_embedding(embedding(Route.EMBED, "auto", 0.25), InputType.QUERY, 0.25)
    text = metrics.render()[0].decode()
    assert value(text, saved) == pytest.approx(0.75)
    assert value(text, 'solomon_tokens_total{kind="prompt"}') == 2
    assert value(text, 'solomon_route_total{decision="forced",route="augment"}') == 51
