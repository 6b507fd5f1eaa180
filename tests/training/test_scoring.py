"""A checkpoint's whole evaluation on tiny data: what it keeps for a rerun, and what it writes when saving."""

import shutil
from dataclasses import replace

import pytest

from model.checkpoint import load_model, read_manifest, verify
from model.types import Route
from tests.training.tiny_data import tiny_recipe
from training.calibration import Rule
from training.evaluation import Selection
from training.joint import Places, train
from training.latency import LatencySettings
from training.mmeb import read_training_rows, write_rows
from training.scoring import (
    EMBEDDINGS,
    NO_AUGMENTATION,
    Candidate,
    Evaluation,
    EvaluationSettings,
    candidate,
)

LIMITED = Selection(limit=4)


def silent(line):
    return None


@pytest.fixture(scope="module")
def trained(tiny_base, tiny_data, tmp_path_factory):
    """A checkpoint of two steps: it has learned nothing, and it has all that a checkpoint has."""
    folder = tmp_path_factory.mktemp("scoring")
    places = Places(tiny_data, folder / "run", folder / "checkpoint")
    train(tiny_recipe(tiny_base, steps=2, seed=7), places, report=silent)
    return places.output


@pytest.fixture
def checkpoint(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "checkpoint")


def evaluate(subject, data, output=None, **settings):
    chosen = EvaluationSettings(**{"selection": LIMITED, "dtype": "float32", **settings})
    return Evaluation(subject, data, chosen, output).run()


def test_the_manifest_says_what_a_checkpoint_is(trained, tiny_base):
    assert candidate(trained) == Candidate(trained, "tiny", "adaptive", 7)
    assert candidate(trained, "mine").label == "mine"
    assert candidate(tiny_base) == Candidate(tiny_base, tiny_base.name)


def test_saving_calibrates_and_writes_into_the_manifest(checkpoint, tiny_data):
    before = read_manifest(checkpoint)
    found = evaluate(candidate(checkpoint), tiny_data, save=True)
    manifest = read_manifest(checkpoint)
    assert manifest.augment_threshold == found.calibration.by_routes == found.threshold
    assert {(name, route) for name, routes in manifest.scores.items() for route in routes} == {
        (dataset, route) for dataset in ("cities", "colours") for route in ("auto", "embed", "augment")
    }
    stored = manifest.scores["cities"]["auto"]
    expected = next(one for one in found.scores() if (one.dataset, one.route) == ("cities", "auto"))
    assert stored["precision_at_1"] == round(expected.precision_at_1, 4)
    assert manifest.training["calibration"]["by_quality"] == found.calibration.by_quality
    assert manifest.training["recipe"] == before.training["recipe"]
    assert load_model(checkpoint, silent).threshold == manifest.augment_threshold
    verify(checkpoint)


def test_without_saving_the_checkpoint_stays_as_it_is(checkpoint, tiny_data):
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    found = evaluate(candidate(checkpoint), tiny_data, rule=Rule.QUALITY)
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == before
    assert found.calibration.threshold == found.calibration.by_quality
    assert found.threshold == read_manifest(checkpoint).augment_threshold


def test_a_rerun_computes_nothing_and_a_larger_one_only_what_is_new(checkpoint, tiny_data, tmp_path):
    subject, output = candidate(checkpoint), tmp_path / "out"
    first = evaluate(subject, tiny_data, output)
    assert first.computed > 0
    again = evaluate(subject, tiny_data, output)
    assert again.computed == 0
    assert again.scores() == first.scores()
    # The threshold and the scores in a manifest are no reason to embed anew.
    assert evaluate(subject, tiny_data, output, save=True).computed == 0
    assert evaluate(candidate(checkpoint), tiny_data, output).computed == 0
    # Eight queries of each dataset instead of four, under two routes; calibration has the same ones.
    assert evaluate(subject, tiny_data, output, selection=Selection()).computed == 2 * 4 * 2
    (output / EMBEDDINGS).unlink()
    assert evaluate(subject, tiny_data, output).computed == first.computed


def test_latency_is_measured_once(checkpoint, tiny_data, tmp_path):
    asked = {"latency": LatencySettings(queries=4, repetitions=1, warm_up=0, batch_size=2)}
    first = evaluate(candidate(checkpoint), tiny_data, tmp_path / "out", **asked)
    assert [one.shape for one in first.latency.latency] == ["single", "batched"]
    assert all(one.seconds["augment"].mean > 0 for one in first.latency.latency)
    assert evaluate(candidate(checkpoint), tiny_data, tmp_path / "out", **asked).latency == first.latency


def test_a_baseline_of_the_pilot_is_measured_under_its_own_route(trained, tiny_data):
    found = evaluate(Candidate(trained, "NoAug", NO_AUGMENTATION, 0), tiny_data, latency=LatencySettings())
    assert {score.route for score in found.scores()} == {"embed"}
    assert list(found.outcomes[0].margins) == [Route.EMBED]
    assert found.calibration is None
    assert found.latency is None


def test_progress_adds_up(trained, tiny_data):
    begun = {}

    def begin(description, total):
        counted = begun.setdefault(description, [total, 0])

        def advance(count):
            counted[1] += count

        return advance

    settings = EvaluationSettings(LIMITED, latency=LatencySettings(4, 1, 0, 2))
    Evaluation(candidate(trained), tiny_data, settings, begin=begin).run()
    assert set(begun) == {"tiny: eval", "tiny: calibration", "tiny: latency"}
    assert all(total == count > 0 for total, count in begun.values())


def test_what_cannot_be_calibrated(trained, tiny_data, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    shutil.rmtree(data / "calibration")
    said = []
    settings = EvaluationSettings(LIMITED)
    assert Evaluation(candidate(trained), data, settings, report=said.append).run().calibration is None
    assert any("no calibration split" in line for line in said)
    with pytest.raises(ValueError, match="holds no evaluation subsets"):
        evaluate(candidate(trained), data, save=True)


def test_saving_needs_every_dataset():
    with pytest.raises(ValueError, match="without choosing datasets"):
        EvaluationSettings(Selection(("cities",)), save=True)


def test_a_datasets_label_wins_over_the_answers_in_its_rows(trained, tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    rows = read_training_rows(data / "train" / "cities.parquet")
    write_rows(data / "train" / "cities.parquet", [replace(row, route="embed") for row in rows])
    found = {one.dataset: one for one in evaluate(candidate(trained), data).outcomes}
    assert not found["cities"].wanted.any()
    before = {one.dataset: one for one in evaluate(candidate(trained), tiny_data).outcomes}
    assert before["cities"].wanted.all()
