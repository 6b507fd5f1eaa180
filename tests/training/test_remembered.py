import dataclasses
from itertools import chain

import numpy as np
import pytest

from model.types import Embedding, EmbedOptions, InputType, Item, Route, RouteChoice
from tests.training.report.made_up import info
from training.remembered import RememberedEmbeddings, embedding_identity, weights_identity

TIMES = ("queue_seconds", "compute_seconds", "augment_seconds")
FORCED = EmbedOptions(route=RouteChoice.AUGMENT)
DOCUMENT = EmbedOptions(input_type=InputType.DOCUMENT)


class Counting:
    """An engine whose vectors count how often it was asked."""

    def __init__(self):
        self.asked = []

    def embed(self, items, options):
        answers = []
        for item in items:
            self.asked.append(item)
            query = options.input_type is InputType.QUERY
            answers.append(
                Embedding(
                    vector=np.array([len(self.asked), 0.1], np.float32),
                    route=Route.AUGMENT if query else None,
                    decision="forced" if query else None,
                    confidence=1 / 3 if query else None,
                    augmentation="Rome\n" if query else None,
                    prompt_tokens=5,
                    image_tokens=2,
                    augment_tokens=1,
                    queue_seconds=0.5,
                    compute_seconds=0.5,
                    augment_seconds=0.25,
                )
            )
        return answers


@pytest.fixture
def engine():
    return Counting()


def test_what_was_embedded_comes_back_whole(engine, tmp_path):
    path = tmp_path / "deep" / "embeddings.sqlite"
    items = [Item("a"), Item("b", b"picture"), Item(None, b"picture")]
    heard = []
    first = RememberedEmbeddings(engine, "one", path, heard.append)
    fresh = [first.embed(items, options) for options in (FORCED, DOCUMENT)]
    first.close()
    second = RememberedEmbeddings(engine, "one", path)
    again = [second.embed(items, options) for options in (FORCED, DOCUMENT)]
    second.close()
    assert (first.computed, second.computed, heard) == (6, 0, [3, 3])
    for ours, theirs in zip(chain(*fresh), chain(*again), strict=True):
        expected = dataclasses.asdict(ours) | dict.fromkeys(TIMES, 0.0)
        found = dataclasses.asdict(theirs)
        assert (found.pop("vector") == expected.pop("vector")).all()
        assert found == expected


@pytest.mark.parametrize(
    "other",
    [
        ("two", Item("a"), FORCED),
        ("one", Item("b"), FORCED),
        ("one", Item("a", b"picture"), FORCED),
        ("one", Item("a"), DOCUMENT),
        ("one", Item("a"), EmbedOptions(route=RouteChoice.EMBED)),
        ("one", Item("a"), EmbedOptions(route=RouteChoice.AUGMENT, instruction="Find it.")),
        ("one", Item("a"), EmbedOptions(route=RouteChoice.AUGMENT, max_augment_tokens=3)),
    ],
)
def test_anything_else_is_embedded(engine, tmp_path, other):
    identity, item, options = other
    for name, asked, how in (("one", Item("a"), FORCED), (identity, item, options)):
        remembered = RememberedEmbeddings(engine, name, tmp_path / "e.sqlite")
        remembered.embed([asked], how)
        remembered.close()
    assert len(engine.asked) == 2


def test_an_item_twice_in_one_call_is_embedded_once(engine):
    remembered = RememberedEmbeddings(engine, "one", None)
    first, other, second = remembered.embed([Item("a"), Item("b"), Item("a")], FORCED)
    assert first.vector[0] == second.vector[0] == 1
    assert other.vector[0] == 2


def test_a_failed_call_keeps_what_was_there(engine, tmp_path):
    remembered = RememberedEmbeddings(engine, "one", tmp_path / "e.sqlite")
    remembered.embed([Item("a")], FORCED)
    engine.embed = lambda items, options: 1 / 0
    with pytest.raises(ZeroDivisionError):
        remembered.embed([Item("a"), Item("b")], FORCED)
    assert len(remembered.embed([Item("a")], FORCED)) == 1


def test_an_automatic_route_needs_its_threshold(engine):
    remembered = RememberedEmbeddings(engine, "one", None)
    with pytest.raises(ValueError, match="augment_threshold or a forced route"):
        remembered.embed([Item("a")], EmbedOptions())
    assert remembered.embed([Item("a")], EmbedOptions(augment_threshold=0.3))


def test_the_identity_follows_the_weights_and_the_machine(tmp_path):
    known = info()
    assert weights_identity(tmp_path, known) == known.checkpoint_sha256  # no manifest: a plain model
    first = embedding_identity(tmp_path, known)
    assert embedding_identity(tmp_path, dataclasses.replace(known, augment_threshold=0.9)) == first
    for change in ({"dtype": "bfloat16"}, {"device": "cuda"}, {"checkpoint_sha256": "1" * 64}):
        assert embedding_identity(tmp_path, dataclasses.replace(known, **change)) != first
