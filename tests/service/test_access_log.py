"""A call's log line: what it says, and what it never says."""

from structlog.testing import capture_logs

SECRET = "zebra-crossing"


def line(client, path, body, **headers):
    with capture_logs() as logs:
        client.post(path, json=body, headers=headers)
    (entry,) = (entry for entry in logs if entry["event"] == "call")
    return entry


def test_a_query_has_route_confidence_tokens_and_timings(client):
    entry = line(client, "/embed", {"input": SECRET, "route": "augment", "max_augment_tokens": 4})
    assert (entry["path"], entry["status"], entry["items"]) == ("/embed", 200, 1)
    assert entry["route"] == "augment"
    assert 0 <= entry["confidence"] <= 1
    assert entry["prompt_tokens"] > 0
    assert entry["image_tokens"] == 0
    assert 0 <= entry["augment_tokens"] <= 4
    assert 0 < entry["compute_ms"] <= entry["duration_ms"]
    assert entry["queue_ms"] >= 0
    assert SECRET not in str(entry)


def test_several_routes_are_mixed_and_documents_have_none(client):
    search = line(client, "/search", {"query": SECRET, "route": "embed"})
    assert (search["route"], search["results"]) == ("embed", 0)
    assert search["index_ms"] >= 0
    document = line(client, "/embed", {"input": SECRET, "input_type": "document"})
    assert (document["route"], document["confidence"]) == (None, None)


def test_refused_calls_are_logged_without_content(client):
    entry = line(client, "/embed", {"input": SECRET, SECRET: 1})
    assert entry["status"] == 422
    assert SECRET not in str(entry)


def test_content_is_logged_only_if_the_setting_asks(serve):
    image = "data:image/png;base64,AAAA"
    with serve(log_content=True, api_keys=SECRET) as client:
        entry = line(
            client, "/embed", {"input": ["a red car", "x" * 5000], "truncate": True}, **{"X-API-Key": SECRET}
        )
        assert entry["texts"][0] == "a red car"
        assert len(entry["texts"][1]) == 1001
        assert len(entry["augmentations"]) == 2
        refused = line(client, "/embed", {"input": {"image": image}}, **{"X-API-Key": SECRET})
    assert SECRET not in str(entry)
    assert "AAAA" not in str(refused)


def test_calls_are_counted_by_template_and_status(client):
    client.get(f"/collections/default/documents/{SECRET}")
    client.post("/embed", json={"input": "x"})
    client.get("/healthz")
    text = client.get("/metrics").text
    assert 'solomon_http_requests_total{path="/embed",status="200"} 1.0' in text
    assert 'path="/collections/{name}/documents/{id:path}",status="404"} 1.0' in text
    assert "/healthz" not in text
    assert SECRET not in text
    assert "solomon_requests_in_flight 0.0" in text
    assert "solomon_ready 1.0" in text
    assert "solomon_queue_limit 1024.0" in text
    assert 'solomon_rejected_total{reason="storage-refused"} 0.0' in text
