"""The study on the tiny model: baselines trained, compared, split and labelled by one command."""

import json

import pytest

from model.checkpoint import read_manifest
from tests.training.pilot.commands import call, recipe_file
from training.mmeb import read_training_rows
from training.pilot.baselines import baseline_recipe
from training.recipe import load_recipe


@pytest.fixture(scope="module")
def studied(tiny_base, tiny_data, tmp_path_factory):
    """A finished study's folder and the command's result."""
    folder = tmp_path_factory.mktemp("study")
    recipe = recipe_file(folder, tiny_base)
    result = call(
        *(
            "--data",
            tiny_data,
            "--recipe",
            recipe,
            "--run",
            folder / "run",
            "--output",
            folder / "study.json",
        ),
        *("--rule", "unless-harmful", "--margin", 0.99, "--limit", 4, "--labelled", folder / "labelled"),
    )
    assert result.exit_code == 0, result.output
    return folder, result


def test_both_baselines_are_trained_by_their_mode(studied):
    folder, result = studied
    modes = {}
    for mode in ("no-augmentation", "always-augment"):
        manifest = read_manifest(folder / "run" / mode / "checkpoint")
        modes[mode] = manifest.training["recipe"]
        assert manifest.name == f"tiny-{mode}"
        assert modes[mode]["mode"] == mode
    assert modes["no-augmentation"]["datasets"].keys() == {"cities", "colours"}
    assert modes["always-augment"]["datasets"].keys() == {"cities"}  # colours has no augmentations
    assert "AlwaysAug trains without colours" in result.output


def test_the_file_holds_comparison_split_and_provenance(studied):
    folder, _ = studied
    written = json.loads((folder / "study.json").read_text())
    compared = {one["dataset"]: one for one in written["comparisons"]}
    assert compared.keys() == {"cities", "colours"}
    for one in compared.values():
        assert one["queries"] == 4
        assert one["gain"]["mean"] == pytest.approx(one["always_aug"] - one["no_aug"])
        assert one["gain"]["low"] <= one["gain"]["mean"] <= one["gain"]["high"]
    assert written["D^A"] == ["cities", "colours"]  # nothing is worse by 99 points for certain
    assert (written["D^E"], written["rule"], written["margin"]) == ([], "unless-harmful", 0.99)
    facts = written["facts"]
    assert (facts["split"], facts["limit"]) == ("calibration", 4)
    assert facts["no_aug"]["name"] == "tiny-no-augmentation"
    assert facts["always_aug"]["name"] == "tiny-always-augment"
    assert all(len(found) == 64 for found in facts["development_data"].values())


def test_table_picture_and_labels_are_there(studied):
    folder, result = studied
    assert all(word in result.output for word in ("NoAug", "AlwaysAug", "cities", "colours", "mean"))
    assert "Without a single augmentation, so never labelled /augment: colours" in result.output
    assert (folder / "study.svg").read_text().startswith("<?xml")
    cities = read_training_rows(folder / "labelled" / "train" / "cities.parquet")
    colours = read_training_rows(folder / "labelled" / "train" / "colours.parquet")
    assert {row.route for row in cities} == {"augment"}
    assert {row.route for row in colours} == {"embed"}


def test_given_checkpoints_are_compared_without_training(studied, tiny_data, tmp_path):
    folder, _ = studied
    checkpoints = [folder / "run" / mode / "checkpoint" for mode in ("no-augmentation", "always-augment")]
    given = ("--no-aug", checkpoints[0], "--always-aug", checkpoints[1], "--split", "eval")
    result = call(
        "--data", tiny_data, *given, "--output", tmp_path / "s.json", "--datasets", "cities", "--limit", 2
    )
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "s.json").read_text())
    assert [one["dataset"] for one in written["comparisons"]] == ["cities"]
    assert written["not_compared"] == ["colours"]
    assert "not decided: colours" in result.output


def test_a_subset_may_stand_for_a_dataset_of_another_name(studied, tiny_data, tmp_path):
    folder, _ = studied
    checkpoints = [folder / "run" / mode / "checkpoint" for mode in ("no-augmentation", "always-augment")]
    given = ("--no-aug", checkpoints[0], "--always-aug", checkpoints[1], "--datasets", "cities", "--limit", 1)
    options = ("--data", tiny_data, *given, "--output", tmp_path / "s.json")
    result = call(*options, "--stands-for", "cities=colours")
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "s.json").read_text())
    assert [one["dataset"] for one in written["comparisons"]] == ["colours"]
    assert written["not_compared"] == ["cities"]
    for wrong, problem in (("birds=cities", "No development subset birds"), ("cities", "SUBSET=DATASET")):
        refused = call(*options, "--stands-for", wrong)
        assert refused.exit_code == 2
        assert problem in refused.stderr


def test_another_rule_labels_from_the_same_study(studied, tiny_data, tmp_path):
    folder, _ = studied
    options = ("--level", "dataset", "--study", folder / "study.json", "--output", tmp_path)
    result = call("label", "--data", tiny_data, *options, "--rule", "significant", "--margin", 0.9)
    assert result.exit_code == 0, result.output
    assert {row.route for row in read_training_rows(tmp_path / "train" / "cities.parquet")} == {"embed"}


def test_what_is_missing_is_said(tiny_data, tmp_path):
    out = ("--data", tiny_data, "--output", tmp_path / "s.json")
    nothing = call(*out)
    assert nothing.exit_code == 2
    assert "give --recipe and --run, or give both checkpoints" in nothing.stderr
    for level, option in (("query", "--gains"), ("dataset", "--study")):
        result = call("label", "--data", tiny_data, "--output", tmp_path / "o", "--level", level)
        assert result.exit_code == 2
        assert f"--level {level} needs {option}" in result.stderr
    broken = call(*out, "--no-aug", tmp_path, "--always-aug", tmp_path)
    assert broken.exit_code == 1
    assert "is no Solomon checkpoint" in broken.stderr


def test_a_run_folder_of_another_recipe_is_refused(studied, tiny_base, tiny_data, tmp_path):
    folder, _ = studied
    recipe = recipe_file(tmp_path, tiny_base, seed=5)
    result = call(
        *("--data", tiny_data, "--recipe", recipe, "--run", folder / "run", "--output", tmp_path / "s.json")
    )
    assert result.exit_code == 2
    assert "another recipe" in result.stderr


def test_without_any_augmentation_there_is_no_always_aug(tiny_base, tiny_data, tmp_path):
    recipe = load_recipe(str(recipe_file(tmp_path, tiny_base, datasets={"colours": 1.0})))
    with pytest.raises(ValueError, match="solomon synthesize"):
        baseline_recipe(recipe, "always-augment", tiny_data)
    assert baseline_recipe(recipe, "no-augmentation", tiny_data).mode == "no-augmentation"
