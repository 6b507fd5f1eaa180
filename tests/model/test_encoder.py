"""Embedding without a server."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from model.encodable import as_item
from model.encoder import DEFAULT_CHECKPOINT, Solomon
from model.engine import Engine, EngineSettings
from model.errors import InputError
from model.types import Item
from tests.model.tiny import load_tiny


@pytest.fixture(scope="module")
def solomon():
    with Solomon(Engine(load_tiny(), EngineSettings(threads=1, dtype="float32"))) as solomon:
        yield solomon


def picture(mode="RGB"):
    return Image.new(mode, (40, 30), 1)


def test_one_input_is_one_vector_and_a_list_is_a_matrix(solomon):
    one = solomon.encode("a question", route="embed")
    assert one.shape == (solomon.info.dimensions,)
    both = solomon.encode(["a question", "another"], route="embed")
    assert both.shape == (2, solomon.info.dimensions)
    np.testing.assert_allclose(both[0], one, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-5)
    assert solomon.encode([]).shape == (0, solomon.info.dimensions)


def test_queries_and_documents_are_told_apart(solomon):
    query, document = (solomon.encode("text", input_type=side) for side in ("query", "document"))
    assert not np.allclose(query, document, atol=1e-3)


def test_images_come_as_files_bytes_and_pillows(solomon, tmp_path):
    buffer = io.BytesIO()
    picture().save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    forms = [picture(), tmp_path / "a.png", Item(image=buffer.getvalue()), {"image": picture(), "text": None}]
    vectors = solomon.encode(forms, input_type="document")
    for vector in vectors[1:]:
        np.testing.assert_allclose(vector, vectors[0], atol=1e-5)
    assert as_item({"text": "x", "image": picture("P")}).image.startswith(b"\x89PNG")


def test_long_texts_are_cut_unless_that_is_refused(solomon):
    solomon.encode("long " * 2000)
    with pytest.raises(InputError):
        solomon.encode("long " * 2000, truncate=False)


def test_what_is_no_input_is_told(solomon):
    with pytest.raises(TypeError, match="int"):
        solomon.encode([1])
    with pytest.raises(TypeError, match="str is no image"):
        solomon.encode([{"image": "a.png"}])


def test_sides_have_methods_of_their_own(solomon):
    texts = ["a question", "another"]
    for method, side in ((solomon.encode_query, "query"), (solomon.encode_document, "document")):
        np.testing.assert_allclose(method(texts), solomon.encode(texts, input_type=side), atol=1e-5)
        assert method("one").shape == (solomon.info.dimensions,)
    asked = solomon.encode_query("a question", route="embed", instruction="Find it.")
    expected = solomon.encode("a question", route="embed", instruction="Find it.")
    np.testing.assert_allclose(asked, expected, atol=1e-5)


def test_options_of_sentence_transformers_change_no_vector(solomon, capsys):
    texts = ["one", "two", "three"]
    plain = solomon.encode(texts, route="embed")
    same = solomon.encode(
        texts, route="embed", batch_size=2, show_progress_bar=False, normalize_embeddings=True
    )
    np.testing.assert_allclose(same, plain, atol=1e-5)
    assert capsys.readouterr().err == ""
    shown = solomon.encode(texts * 30, route="embed", show_progress_bar=True)
    np.testing.assert_allclose(shown[-3:], plain, atol=1e-5)
    assert "Embedding" in capsys.readouterr().err
    for wrong in ({"normalize_embeddings": False}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            solomon.encode(texts, **wrong)


def test_tensors_are_had_for_the_asking(solomon):
    expected = solomon.encode(["one", "two"], route="embed")
    whole = solomon.encode(["one", "two"], route="embed", convert_to_tensor=True)
    assert isinstance(whole, torch.Tensor)
    np.testing.assert_allclose(whole.numpy(), expected, atol=1e-5)
    apart = solomon.encode_query(["one", "two"], route="embed", convert_to_numpy=False)
    assert [tuple(vector.shape) for vector in apart] == [(solomon.info.dimensions,)] * 2
    single = solomon.encode_document("one", convert_to_tensor=True)
    assert tuple(single.shape) == (solomon.info.dimensions,)


def test_similarities_are_cosines_of_each_with_each(solomon):
    queries, documents = (
        np.eye(2, 3, dtype=np.float32),
        np.array([[3, 0, 0], [1, 1, 0], [0, 0, 2]], np.float32),
    )
    expected = [[1, 0.5**0.5, 0], [0, 0.5**0.5, 0]]
    forms = [documents, torch.tensor(documents), list(documents), list(torch.tensor(documents))]
    for form in forms:
        np.testing.assert_allclose(solomon.similarity(queries, form).numpy(), expected, atol=1e-6)
    assert solomon.similarity(queries[0], documents[1]).shape == (1, 1)


def test_what_it_was_loaded_with_in_place_of_its_own_is_remembered(monkeypatch):
    monkeypatch.setattr("model.checkpoint.load_model", lambda checkpoint: load_tiny())
    with Solomon.load("tiny", dtype="float32", augment_threshold=0.25, threads=1) as told:
        assert told.overrides == {"dtype": "float32", "augment_threshold": 0.25}
        assert told.info.augment_threshold == 0.25
    with Solomon.load("tiny", threads=1) as plain:
        assert plain.overrides == {}


def test_the_default_is_the_shipped_checkpoint():
    assert (DEFAULT_CHECKPOINT / "solomon.json").is_file()
