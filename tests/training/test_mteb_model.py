"""MTEB's own evaluation of a checkpoint, on tasks that it makes up for such tests."""

from types import SimpleNamespace

import mteb
import numpy as np
import pytest
from mteb.cache import ResultCache
from mteb.mocks import MockAny2AnyRetrievalT2ITask, MockRetrievalTask, MockSTSTask
from mteb.models.models_protocols import EncoderProtocol
from mteb.types import PromptType

from model.encoder import Solomon
from model.engine import Engine, EngineSettings
from model.types import EngineInfo
from tests.model.tiny import load_tiny
from training.mteb_model import MtebSolomon, batch_items


@pytest.fixture(scope="module")
def solomon():
    with Solomon(Engine(load_tiny(), EngineSettings(threads=1, dtype="float32"))) as solomon:
        yield solomon


TASK = MockRetrievalTask.metadata.model_copy(update={"prompt": {"query": "Find a number."}})


def encode(model, prompt_type, task=TASK, **options):
    batches = [{"text": ["one", "two"]}, {"text": ["three"]}]
    return model.encode(
        batches, task_metadata=task, hf_split="", hf_subset="", prompt_type=prompt_type, **options
    )


def test_queries_are_routed_behind_the_tasks_instruction_and_everything_else_is_a_document(solomon):
    model = MtebSolomon.of(solomon)
    texts, asked = ["one", "two", "three"], {"instruction": "Find a number."}
    np.testing.assert_allclose(encode(model, PromptType.query), solomon.encode(texts, **asked), atol=1e-5)
    documents = solomon.encode(texts, input_type="document")
    for side in (PromptType.document, None):
        np.testing.assert_allclose(encode(model, side), documents, atol=1e-5)
    forced = MtebSolomon.of(solomon, route="augment")
    expected = solomon.encode(texts, route="augment", **asked)
    np.testing.assert_allclose(encode(forced, PromptType.query), expected, atol=1e-5)
    assert forced.mteb_model_meta.name.endswith("-augment")


def test_a_precision_of_mtebs_is_refused(solomon):
    with pytest.raises(ValueError, match="precision='int8'"):
        encode(MtebSolomon.of(solomon), PromptType.query, precision="int8")


class Unloaded(Solomon):
    """A checkpoint's description alone, and a note of how much it was asked to embed at once."""

    def __init__(self, **overrides):
        self.overrides = overrides
        self.asked = []

    @property
    def info(self):
        return EngineInfo(
            "tiny", "base", "main", 4, 100, 10, 20, 0.5, "last", "cpu", "float32", "torch", "ab" * 32
        )

    def embed(self, inputs, options):
        self.asked.append(len(inputs))
        return [SimpleNamespace(vector=np.ones(4, np.float32)) for _ in inputs]


def test_batches_are_embedded_one_after_the_other():
    solomon, taken = Unloaded(), []

    def batches():
        for number in range(3):
            assert len(solomon.asked) == number  # the one before is done with
            taken.append(number)
            yield {"text": ["one", "two"]}

    vectors = MtebSolomon.of(solomon).encode(batches(), task_metadata=TASK, hf_split="", hf_subset="")
    assert (vectors.shape, solomon.asked, taken) == ((6, 4), [2, 2, 2], [0, 1, 2])


def test_results_of_other_thresholds_and_precisions_are_kept_apart(tmp_path):
    cache = ResultCache(cache_path=tmp_path)
    told = [{}, {"augment_threshold": 0.3}, {"augment_threshold": 0.7}, {"dtype": "bfloat16"}]
    metas = [MtebSolomon.of(Unloaded(**each)).mteb_model_meta for each in told]
    paths = [cache.get_task_result_path("Task", meta) for meta in metas]
    assert len(set(paths)) == len(told)
    assert metas[0].experiment_name is None
    assert "0.3" in str(paths[1])
    assert "bfloat16" in str(paths[3])


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
