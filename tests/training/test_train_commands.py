import json
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from typer.testing import CliRunner

from tests.training.tiny_data import tiny_recipe
from training.cli import train_app
from training.mmeb import read_training_rows

runner = CliRunner()


def call(*arguments):
    return runner.invoke(train_app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


@pytest.mark.parametrize(("kind", "expected"), [("ddp", "MULTI_GPU"), ("fsdp", "FSDP")])
def test_the_shipped_accelerate_configurations_are_accelerates(kind, expected):
    result = call("accelerate-config", kind)
    assert result.exit_code == 0
    config = load_config_from_file(result.output.strip())
    assert config.distributed_type.value == expected
    assert config.mixed_precision == "no"  # the trainer's own autocast does it


def test_an_unknown_configuration_lists_those_there_are():
    result = call("accelerate-config", "deepspeed")
    assert result.exit_code == 2
    assert "there are: ddp, fsdp" in result.stderr


def test_mining_with_a_checkpoint_and_training_on_what_it_found(tiny_base, tiny_data, tmp_path):
    arguments = ("mine", "--data", tiny_data, "--checkpoint", tiny_base, "--output", tmp_path)
    result = call(*arguments, "--dataset", "cities", "--count", "2", "--margin", "1.0")
    assert result.exit_code == 0, result.output
    assert "queries got new negatives" in result.output
    record = json.loads((tmp_path / "train" / "cities.mined.json").read_text())
    rows = read_training_rows(tmp_path / "train" / "cities.parquet")
    assert sum(len(row.hard_negatives) == 2 for row in rows) >= 4
    assert record["queries"] == len(rows) == 8

    recipe = tiny_recipe(tiny_base, datasets={"cities": 1.0}, steps=1, hard_negatives=2, chunk_size=3)
    toml = [f"{key} = {json.dumps(value)}" for key, value in recipe.model_dump(exclude_none=True).items()]
    lines = [line for line in toml if not line.startswith(("datasets", "matryoshka"))]
    Path(tmp_path / "recipe.toml").write_text("\n".join([*lines, "[datasets]", "cities = 1.0"]))
    places = ("--data", tmp_path, "--run", tmp_path / "run", "--output", tmp_path / "checkpoint")
    trained = call("joint", *places, "--recipe", tmp_path / "recipe.toml", "--no-tensorboard")
    assert trained.exit_code == 0, trained.output
    assert (tmp_path / "checkpoint" / "solomon.json").is_file()


def test_mining_from_nowhere_ends_with_2(tiny_base, tmp_path):
    arguments = ("mine", "--data", tmp_path, "--checkpoint", tiny_base, "--output", tmp_path / "out")
    result = call(*arguments)
    assert result.exit_code == 2
    assert "holds no subsets" in result.stderr
    assert call(*arguments, "--margin", "2").exit_code == 2
