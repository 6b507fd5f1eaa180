"""Folds that keep what belongs together, and the whole way from rows to labelled rows on the tiny model."""

from collections import Counter

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint import read_manifest
from tests.training.pilot.commands import call, recipe_file
from tests.training.tiny_data import image_rows, text_rows
from training.mmeb import TrainingRow, read_training_rows
from training.pilot.gains import GainSettings, fold_of, read_gains


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(0, 100))
def test_one_fact_in_several_wordings_and_one_picture_lie_in_one_fold(folds, seed):
    folding = GainSettings(folds, seed=seed)
    worded = [TrainingRow(f"wording {n}", pos_text=f"It is {n}.", pos_key="rome") for n in range(5)]
    pictured = [TrainingRow(f"ask {n}", "a.png", pos_text=f"answer {n}") for n in range(5)]
    assert len({fold_of(row, folding) for row in worded}) == 1
    assert len({fold_of(row, folding) for row in pictured}) == 1
    assert all(0 <= fold_of(row, folding) < folds for row in [*text_rows(), *image_rows()])


def test_folds_are_of_about_one_size_and_depend_on_the_seed():
    rows = [TrainingRow(f"q{n}", pos_text=f"a{n}") for n in range(600)]
    first, second = ([fold_of(row, GainSettings(3, seed=seed)) for row in rows] for seed in (0, 1))
    assert first != second
    assert all(150 < count < 250 for count in Counter(first).values())


def test_one_fold_or_one_candidate_is_refused():
    with pytest.raises(ValueError, match="2 folds"):
        GainSettings(folds=1)
    with pytest.raises(ValueError, match="2 candidates"):
        GainSettings(candidates=1)


def test_gains_are_measured_by_models_of_the_other_fold_and_become_labels(tiny_base, tiny_data, tmp_path):
    recipe = recipe_file(tmp_path, tiny_base, datasets={"cities": 1.0}, precision="fp32")
    options = ("--data", tiny_data, "--recipe", recipe, "--run", tmp_path / "run", "--candidates", 4)
    result = call("gains", *options, "--output", tmp_path / "gains.parquet")
    assert result.exit_code == 0, result.output
    found, facts = read_gains(tmp_path / "gains.parquet")
    rows = text_rows()
    assert [one.row for one in found] == list(range(len(rows)))
    folding = GainSettings(candidates=4)
    assert [one.fold for one in found] == [fold_of(row, folding) for row in rows]
    assert {one.fold for one in found} == {0, 1}
    for fold in (0, 1):
        folder = tmp_path / "run" / f"fold-{fold}"
        trained_on = {row.qry for row in read_training_rows(folder / "data" / "train" / "cities.parquet")}
        measured = {rows[one.row].qry for one in found if one.fold == fold}
        assert trained_on == {row.qry for row in rows} - measured
        for mode in ("no-augmentation", "always-augment"):
            manifest = read_manifest(folder / mode / "checkpoint")
            assert manifest.training["recipe"]["mode"] == mode
            assert manifest.training["data"]["cities"]["rows"] == len(trained_on)
    assert facts["candidates"] == 4
    assert any(one.gain != 0 for one in found)

    before = (tmp_path / "gains.parquet").read_bytes()
    again = call("gains", *options, "--output", tmp_path / "gains.parquet")
    assert again.exit_code == 0
    assert "Training" not in again.output  # finished baselines are taken as they are
    assert (tmp_path / "gains.parquet").read_bytes() == before
    other = call("gains", *options, "--seed", 1, "--output", tmp_path / "gains.parquet")
    assert other.exit_code == 2
    assert "other folds" in other.stderr

    labels = ("--level", "query", "--gains", tmp_path / "gains.parquet", "--output", tmp_path / "labelled")
    labelled = call("label", "--data", tiny_data, *labels)
    assert labelled.exit_code == 0, labelled.output
    written = read_training_rows(tmp_path / "labelled" / "train" / "cities.parquet")
    assert [row.route for row in written] == ["augment" if one.gain > 0 else "embed" for one in found]
    assert pq.read_table(tmp_path / "labelled" / "train" / "colours.parquet").num_rows == 16
