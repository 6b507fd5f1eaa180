"""Collections and documents from birth to deletion."""

from tests.e2e.inputs import DEMO_PICTURES, data_uri, picture


def add(client, collection, *documents):
    response = client.post(f"/collections/{collection}/documents", json={"documents": documents})
    assert response.status_code == 201, response.text
    return response.json()["ids"]


def found(client, collection, query="anything", **options):
    call = {"query": query, "collection": collection, "k": 1000, "route": "embed", **options}
    return [hit["id"] for hit in client.post("/search", json=call).json()["results"]]


def test_a_collection_is_made_listed_and_dropped(client):
    info = client.get("/info").json()
    made = client.put("/collections/short-lived", json={})
    assert made.status_code == 201
    assert (made.json()["count"], made.json()["dimensions"]) == (0, info["dimensions"])
    assert client.put("/collections/short-lived").status_code == 200
    assert "short-lived" in [entry["name"] for entry in client.get("/collections").json()["collections"]]
    assert client.delete("/collections/short-lived").status_code == 204
    assert client.get("/collections/short-lived").status_code == 404


def test_documents_are_added_shown_replaced_and_deleted(client, collection):
    given = {"id": "a/1", "text": "The Nile flows north.", "metadata": {"kind": "river", "km": 6650}}
    assert add(client, collection, given) == ["a/1"]
    address = f"/collections/{collection}/documents/a%2F1"
    assert client.get(address).json() == {**given, "image_url": None}
    add(client, collection, {"id": "a/1", "text": "The Danube flows east."})
    assert client.get(address).json()["text"] == "The Danube flows east."
    assert client.get(f"/collections/{collection}").json()["count"] == 1
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404


def test_what_was_deleted_is_not_served(client, collection):
    ids = add(client, collection, *({"text": f"sentence number {number}"} for number in range(8)))
    assert len(set(ids)) == 8
    for gone in ids[::2]:
        assert client.delete(f"/collections/{collection}/documents/{gone}").status_code == 204
    assert sorted(found(client, collection)) == sorted(ids[1::2])


def test_a_replaced_document_is_found_by_its_new_text_only(client, collection):
    add(client, collection, {"id": "x", "text": "a red fire engine"}, {"id": "y", "text": "a bowl of soup"})
    add(client, collection, {"id": "x", "text": "a snowy mountain"})
    call = {"input": "a red fire engine", "input_type": "document"}
    vector = client.post("/embed", json=call).json()["data"][0]["embedding"]
    hits = client.post("/search", json={"vector": vector, "collection": collection, "k": 2}).json()["results"]
    assert sorted(hit["id"] for hit in hits) == ["x", "y"]
    assert max(hit["score"] for hit in hits) < 0.9999


def test_images_are_kept_byte_for_byte(client, collection):
    add(client, collection, {"id": "cat", "text": "a cat", "image": picture("cat")})
    hit = client.post("/search", json={"query": "a cat", "collection": collection}).json()["results"][0]
    image = client.get(hit["image_url"])
    assert image.content == (DEMO_PICTURES / "cat.png").read_bytes()
    assert image.headers["content-type"] == "image/png"


def test_a_call_with_one_bad_document_keeps_nothing(client, collection):
    documents = [{"text": "good"}, {"image": data_uri(b"this is a text")}]
    response = client.post(f"/collections/{collection}/documents", json={"documents": documents})
    assert response.status_code == 415
    assert response.json()["errors"][0]["field"] == "documents[1].image"
    assert client.get(f"/collections/{collection}").json()["count"] == 0
