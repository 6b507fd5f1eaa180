"""Embedding without a server."""

import io

import numpy as np
import pytest
from PIL import Image

from model.encoder import DEFAULT_CHECKPOINT, Solomon, as_item
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


def test_the_default_is_the_shipped_checkpoint():
    assert (DEFAULT_CHECKPOINT / "solomon.json").is_file()
