"""A run goes on from a checkpoint's adapter, and says so in its own manifest."""

import pytest
import torch

from model.checkpoint import read_manifest
from model.errors import CheckpointError
from tests.training.tiny_data import tiny_recipe
from training.joint import Places, build_student, build_trainer, train
from training.parallel import Processes
from training.start import load_adapter
from training.state import trainable
from training.training_data import read_training_data


def silent(line):
    return None


@pytest.fixture(scope="module")
def checkpoint(tiny_base, tiny_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    places = Places(tiny_data, folder / "run", folder / "checkpoint")
    train(tiny_recipe(tiny_base, steps=3), places, report=silent)
    return places.output


def student_of(recipe, places):
    rows = read_training_data(places.data, recipe, silent)
    return build_student(recipe, places, rows, Processes(), silent)[0]


def test_the_adapter_is_taken_and_told(checkpoint, tiny_base, tiny_data, tmp_path):
    recipe = tiny_recipe(tiny_base, steps=2, learning_rate=1e-9)
    places = Places(tiny_data, tmp_path / "run", tmp_path / "out", start_from=checkpoint)
    rows = read_training_data(tiny_data, recipe, silent)
    started = trainable(build_trainer(recipe, places, rows, Processes(), silent).student)
    fresh = trainable(student_of(recipe, places))
    assert any(not torch.equal(started[name], fresh[name]) for name in started if "lora_B" in name)
    assert any(not torch.equal(started[name], fresh[name]) for name in started if "trainable_tokens" in name)

    train(recipe, places, report=silent)
    told = read_manifest(places.output).training["start_from"]
    assert told["adapter_sha256"] == read_manifest(checkpoint).files["adapter_model.safetensors"]
    assert told["training"]["recipe"]["steps"] == 3


def test_another_rank_is_refused(checkpoint, tiny_base, tiny_data, tmp_path):
    recipe = tiny_recipe(tiny_base, lora_rank=8)
    student = student_of(recipe, Places(tiny_data, tmp_path / "run", tmp_path / "out"))
    with pytest.raises(ValueError, match="does not fit this recipe's adapter"):
        load_adapter(checkpoint, student.peft_model)


def test_a_damaged_checkpoint_is_refused(checkpoint, tiny_base, tiny_data, tmp_path):
    import shutil

    damaged = shutil.copytree(checkpoint, tmp_path / "damaged")
    (damaged / "adapter_model.safetensors").write_bytes(b"not it")
    student = student_of(tiny_recipe(tiny_base), Places(tiny_data, tmp_path / "run", tmp_path / "out"))
    with pytest.raises(CheckpointError, match="corrupt"):
        load_adapter(damaged, student.peft_model)
