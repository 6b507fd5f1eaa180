"""MTEB's own evaluation of a checkpoint, on tasks that it makes up for such tests."""

import mteb
import numpy as np
import pytest
from mteb.mocks import MockAny2AnyRetrievalT2ITask, MockRetrievalTask, MockSTSTask
from mteb.models.models_protocols import EncoderProtocol
from mteb.types import PromptType

from model.encoder import Solomon
from model.engine import Engine, EngineSettings
from tests.model.tiny import load_tiny
from training.mteb_model import MtebSolomon, batch_items


@pytest.fixture(scope="module")
def solomon():
    with Solomon(Engine(load_tiny(), EngineSettings(threads=1, dtype="float32"))) as solomon:
        yield solomon


def encode(model, prompt_type):
    batches = [{"text": ["one", "two"]}, {"text": ["three"]}]
    return model.encode(batches, task_metadata=None, hf_split="", hf_subset="", prompt_type=prompt_type)


def test_queries_are_routed_and_everything_else_is_a_document(solomon):
    model = MtebSolomon.of(solomon)
    texts = ["one", "two", "three"]
    np.testing.assert_allclose(encode(model, PromptType.query), solomon.encode(texts), atol=1e-5)
    documents = solomon.encode(texts, input_type="document")
    for side in (PromptType.document, None):
        np.testing.assert_allclose(encode(model, side), documents, atol=1e-5)
    forced = MtebSolomon.of(solomon, route="augment")
    expected = solomon.encode(texts, route="augment")
    np.testing.assert_allclose(encode(forced, PromptType.query), expected, atol=1e-5)
    assert forced.mteb_model_meta.name.endswith("-augment")


def test_sounds_are_refused():
    with pytest.raises(ValueError, match="audio"):
        list(batch_items({"audio": []}))


@pytest.mark.parametrize(
    "task", [MockRetrievalTask, MockAny2AnyRetrievalT2ITask, MockSTSTask], ids=lambda task: task.__name__
)
def test_mteb_evaluates_it(solomon, task):
    model = MtebSolomon.of(solomon)
    assert isinstance(model, EncoderProtocol)
    results = mteb.evaluate(model, task(), cache=None, show_progress_bar=False, co2_tracker=False)
    [result] = results.task_results
    assert result.get_score() is not None
    assert np.isfinite(result.get_score())
