import json

import pytest
from typer.testing import CliRunner

from model.checkpoint import read_manifest
from tests.training.tiny_data import tiny_recipe
from training.cli import data_app, evaluate_app, train_app
from training.mmeb import read_evaluation_rows, read_training_rows

runner = CliRunner()


APPLICATIONS = {"train": train_app, "data": data_app, "evaluate": evaluate_app}


def call(command, *arguments):
    """`solomon <command> <arguments>`, without the service's own command line in between."""
    texts = [str(argument) for argument in arguments]
    return runner.invoke(APPLICATIONS[command], texts, env={"COLUMNS": "200"})


@pytest.mark.parametrize(
    "command",
    [("train",), ("train", "vision"), ("train", "joint"), ("data",), ("data", "mini"), ("evaluate",)],
)
def test_help(command):
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_wrong_usage_ends_with_2():
    assert call("train", "joint").exit_code == 2
    assert call("train", "dance").exit_code == 2
    assert call("train", "vision", "--data", "d", "--tower", "t", "--steps", "0").exit_code == 2


def test_an_unknown_recipe_ends_with_2_and_says_so(tiny_data, tmp_path):
    result = call(
        "train",
        "joint",
        "--data",
        tiny_data,
        "--output",
        tmp_path / "o",
        "--run",
        tmp_path / "r",
        "--recipe",
        "x",
    )
    assert result.exit_code == 2
    assert "No recipe 'x'" in result.stderr


def test_missing_data_ends_with_2_and_says_so(tmp_path):
    for command in (
        ("train", "joint", "--output", tmp_path / "o", "--run", tmp_path / "r"),
        ("train", "vision", "--tower", tmp_path / "t"),
    ):
        result = call(*command, "--data", tmp_path)
        assert result.exit_code == 2
        assert "build the data" in result.stderr


def test_a_photo_folder_without_photos_ends_with_1(tmp_path):
    result = call("data", "mini", "--output", tmp_path / "data", "--photos", tmp_path)
    assert result.exit_code == 1
    assert "caltech101_train.parquet" in result.stderr


def test_the_text_part_of_the_data_builds_alone(tmp_path):
    result = call("data", "mini", "--output", tmp_path)
    assert result.exit_code == 0
    assert "left out" in result.output
    for name in ("countries", "knowledge", "paraphrases"):
        assert read_training_rows(tmp_path / "train" / f"{name}.parquet")
        assert read_evaluation_rows(tmp_path / "eval" / f"{name}.parquet")


def test_a_subset_is_checked_and_its_bad_rows_named(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"qry": "q", "pos_text": "p"}\n' + '{"qry": "no positive"}\n' * 120)
    result = call("data", "check", rows, "--rejected", tmp_path / "bad.txt")
    assert result.exit_code == 1
    assert "rows.jsonl row 1: a training row needs" in result.output
    assert "and 20 more" in result.output
    assert "1 rows read, 120 bad ones skipped" in result.output
    assert len((tmp_path / "bad.txt").read_text().splitlines()) == 120
    rows.write_text('{"qry_text": "q", "tgt_text": ["p", "n"]}\n')
    assert call("data", "check", rows, "--kind", "evaluation").exit_code == 0
    result = call("data", "check", tmp_path / "nothing")
    assert result.exit_code == 2
    assert "give a subset's folder or file" in result.stderr


def test_train_and_evaluate_end_to_end(tiny_base, tiny_data, tmp_path):
    recipe = tiny_recipe(tiny_base, steps=2)
    fields = recipe.model_dump(exclude={"datasets"}, exclude_unset=True)
    lines = [f"{key} = {value!r}" for key, value in fields.items()]
    path = tmp_path / "tiny.toml"
    path.write_text("\n".join([*lines, "[datasets]", "cities = 1.0"]))
    checkpoint, output = tmp_path / "out", tmp_path / "report"
    run = ("--output", checkpoint, "--run", tmp_path / "run", "--recipe", path)
    result = call("train", "joint", "--data", tiny_data, *run)
    assert result.exit_code == 0, result.output
    common = ("--data", tiny_data, "--output", output, "--limit", 2)
    timed = ("--latency-queries", 2, "--repetitions", 1)
    scored = call("evaluate", checkpoint, *common, *timed, "--save")
    assert scored.exit_code == 0, scored.output
    assert "colours" in scored.output
    assert "adaptive/always" in scored.output
    assert set(read_manifest(checkpoint).scores) == {"cities", "colours"}
    document = json.loads((output / "report.json").read_text())
    assert document["checkpoints"][0]["threshold"] == read_manifest(checkpoint).augment_threshold
    assert (output / "report.html").read_text().count("<svg") == 7

    compared = call(
        "evaluate", f"mine={checkpoint}", f"base={tiny_base}", *common, "--no-latency", "--datasets", "cities"
    )
    assert compared.exit_code == 0, compared.output
    document = json.loads((output / "report.json").read_text())
    assert [group["name"] for group in document["comparison"]["groups"]] == ["mine", "base"]
    assert list(document["datasets"]) == ["cities"]

    (checkpoint / "adapter_model.safetensors").write_bytes(b"")
    broken = call("evaluate", checkpoint, *common)
    assert broken.exit_code == 1
    assert "adapter_model.safetensors is corrupt" in broken.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "there is no folder 'nothing'"),
        (("=.",), "has no label before '='"),
        ((".", "--save", "--datasets", "cities"), "save without choosing datasets"),
    ],
)
def test_an_evaluation_that_cannot_be_says_why(tiny_data, arguments, said):
    result = call("evaluate", *arguments, "--data", tiny_data)
    assert result.exit_code == 2
    assert said in result.stderr
