"""A run that is interrupted and taken up again ends bit for bit where an unbroken one does."""

import json
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from model.checkpoint import load_base
from model.prompts import PromptEncoder
from tests.training.tiny_data import text_rows, tiny_recipe
from training.batches import BatchBuilder
from training.pictures import CachedFeatures
from training.run_log import LOG
from training.sampling import Sampler
from training.state import restore_state, save_state, stored_facts, trainable
from training.student import Student, add_lora
from training.trainer import STATE, Trainer, parameter_groups


class Interrupted(Exception):
    pass


def trainer(base, folder, **changes):
    """Everything new, as a fresh process would make it."""
    recipe = tiny_recipe(base, datasets={"cities": 1.0}, lora_dropout=0.1, **changes)
    model, tokenizer = load_base(str(base), lambda line: None)
    prompts = PromptEncoder(tokenizer)
    torch.manual_seed(recipe.seed)
    images = CachedFeatures({}, 2)
    student = Student(add_lora(model, recipe, prompts.routes), prompts.routes, images).train()
    model.model.visual.merger.requires_grad_(True)
    builder = BatchBuilder(prompts, images, recipe.max_text_tokens, recipe.max_augment_tokens)
    sampler = Sampler({"cities": text_rows()}, recipe.datasets, recipe.batch_size, recipe.seed)
    return Trainer(student, builder, sampler, recipe, folder)


def losses(folder):
    lines = (folder / LOG).read_text().splitlines()
    return [(entry["step"], entry["l_rep"], entry["l_gen"]) for entry in map(json.loads, lines)]


def test_a_resumed_run_equals_an_unbroken_one(tiny_base, tmp_path, monkeypatch):
    whole = trainer(tiny_base, tmp_path / "whole")
    whole.run()

    broken = trainer(tiny_base, tmp_path / "broken")
    step = broken.train_step

    def stop_after_the_save():
        if broken.step == 2:
            raise Interrupted
        return step()

    monkeypatch.setattr(broken, "train_step", stop_after_the_save)
    with pytest.raises(Interrupted):
        broken.run()
    assert stored_facts(tmp_path / "broken" / STATE)["step"] == 2

    torch.manual_seed(123)  # whatever else the process has drawn must not matter
    resumed = trainer(tiny_base, tmp_path / "broken")
    resumed.run()
    assert resumed.step == whole.step == 4
    expected, actual = trainable(whole.student), trainable(resumed.student)
    assert list(expected) == list(actual)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


def test_a_finished_run_does_nothing_more(tiny_base, tmp_path):
    first = trainer(tiny_base, tmp_path, steps=2)
    first.run()
    before = losses(tmp_path)
    second = trainer(tiny_base, tmp_path, steps=2)
    second.run()
    assert losses(tmp_path) == before
    ours, theirs = trainable(first.student), trainable(second.student)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_folder_of_another_recipe_is_refused(tiny_base, tmp_path):
    trainer(tiny_base, tmp_path, steps=2).run()
    with pytest.raises(ValueError, match="another recipe"):
        trainer(tiny_base, tmp_path, steps=3).run()


def test_a_run_goes_on_with_what_it_was_begun_with_alone(tiny_base, tmp_path):
    begun = trainer(tiny_base, tmp_path, steps=2)
    begun.inputs = {"dataset cities": "a1", "tower": "b2"}
    begun.run()
    for changed, named in (
        ({"dataset cities": "other", "tower": "b2"}, "another dataset cities"),
        ({"dataset cities": "a1"}, "another tower"),
        ({"dataset cities": "a1", "tower": "b2", "start": "c3"}, "another start"),
    ):
        again = trainer(tiny_base, tmp_path, steps=2)
        again.inputs = changed
        with pytest.raises(ValueError, match=named):
            again.run()
    again = trainer(tiny_base, tmp_path, steps=2)
    again.inputs = {"dataset cities": "a1", "tower": "b2"}
    again.run()


def test_a_damaged_state_says_so(tiny_base, tmp_path):
    trainer(tiny_base, tmp_path, steps=2).run()
    state = tmp_path / STATE
    whole = state.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"not a state", b""):
        state.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            trainer(tiny_base, tmp_path, steps=2).run()


def test_a_state_without_a_parameter_names_it(tiny_base, tmp_path):
    trainer(tiny_base, tmp_path, steps=2).run()
    state = tmp_path / STATE
    with safe_open(state, "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    name = next(key for key in tensors if key.startswith("parameter/"))
    del tensors[name]
    save_file(tensors, state, metadata=metadata)
    with pytest.raises(ValueError, match=re.escape(name.removeprefix("parameter/"))):
        trainer(tiny_base, tmp_path, steps=2).run()


def test_the_merger_learns_at_its_own_rate(tiny_base, tmp_path):
    made = trainer(tiny_base, tmp_path, learning_rate=1e-2, merger_learning_rate=1e-4)
    groups = parameter_groups(made.student, made.recipe)
    merger = {id(p) for p in made.student.qwen.model.visual.merger.parameters()}
    assert [group["lr"] for group in groups] == [1e-2, 1e-4]
    assert {id(p) for p in groups[1]["params"]} == merger
    assert not merger & {id(p) for p in groups[0]["params"]}


def small_module():
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    module[0].bias.requires_grad_(False)
    learns = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return module, torch.optim.AdamW(learns, lr=0.1)


def test_state_holds_what_learns_and_comes_back(tmp_path):
    module, optimizer = small_module()
    for _ in range(3):
        optimizer.zero_grad()
        module(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()
    save_state(tmp_path / "run" / "s.safetensors", module, optimizer, {"step": 3})
    fresh, other = small_module()
    assert restore_state(tmp_path / "run" / "s.safetensors", fresh, other) == {"step": 3}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["s.safetensors"]
    for one, two in zip(module.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(one, two)
    for parameter, twin in zip(module.parameters(), fresh.parameters(), strict=True):
        if parameter.requires_grad:
            assert other.state[twin].keys() == optimizer.state[parameter].keys()
            assert all(
                torch.equal(other.state[twin][key], value)
                for key, value in optimizer.state[parameter].items()
            )


def test_state_of_another_module_is_refused(tmp_path):
    module, optimizer = small_module()
    save_state(tmp_path / "s.safetensors", module, optimizer, {})
    other = torch.nn.ModuleDict({"else": torch.nn.Linear(3, 4)})
    with pytest.raises(ValueError, match=r"else\.weight"):
        restore_state(tmp_path / "s.safetensors", other, torch.optim.AdamW(other.parameters()))
