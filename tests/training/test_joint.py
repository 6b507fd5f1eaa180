"""From data to a checkpoint that the engine serves, on the tiny model."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file

from model.checkpoint import VISION, load_model, read_manifest
from model.engine import Engine, EngineSettings
from model.types import EmbedOptions, InputType, Item, Route
from tests.training.tiny_data import ANSWERS, COLOURS, tiny_recipe
from training.evaluation import evaluate
from training.joint import Places, train

STEPS = 260


def silent(line):
    return None


@pytest.fixture(scope="module")
def trained(tiny_base, tiny_data, tmp_path_factory):
    """A finished run's places."""
    folder = tmp_path_factory.mktemp("joint")
    places = Places(tiny_data, folder / "run", folder / "checkpoint")
    train(tiny_recipe(tiny_base, steps=STEPS, save_every=STEPS), places, report=silent)
    return places


@pytest.fixture(scope="module")
def engine(trained):
    engine = Engine(load_model(trained.output, silent), EngineSettings(dtype="float32"))
    yield engine
    engine.close()


def test_both_losses_fall_on_both_datasets(trained):
    entries = [json.loads(line) for line in (trained.run / "log.jsonl").read_text().splitlines()]
    assert len(entries) == STEPS
    for dataset in ("cities", "colours"):
        ours = [entry for entry in entries if entry["dataset"] == dataset]
        for figure in ("l_rep", "l_gen"):
            first, last = (np.mean([entry[figure] for entry in part]) for part in (ours[:5], ours[-5:]))
            assert last < 0.6 * first, (dataset, figure)


def test_the_engine_serves_it_with_learned_routes(engine):
    questions = [Item(f"Which city has number {number}?") for number in range(len(ANSWERS))]
    asked = engine.embed(questions, EmbedOptions())
    assert sum(embedding.route is Route.AUGMENT for embedding in asked) >= 7
    assert all(embedding.augmentation for embedding in asked if embedding.route is Route.AUGMENT)
    named = engine.embed([Item(colour) for colour in COLOURS], EmbedOptions())
    assert sum(embedding.route is Route.EMBED for embedding in named) >= 7


def test_it_finds_what_it_learned(engine, tiny_data):
    after = {score.dataset: score for score in evaluate(engine, tiny_data) if score.route == "auto"}
    assert after["cities"].candidates == len(ANSWERS)
    assert after["colours"].precision_at_1 >= 0.5  # chance is 1 in 8
    assert after["cities"].route_accuracy >= 0.8


def test_the_checkpoint_holds_the_merger_and_says_what_it_is(trained, tiny_base):
    manifest = read_manifest(trained.output)
    assert manifest.name == "tiny"
    assert manifest.base.revision == "local"
    assert manifest.image_format["square_side"] == 56
    assert manifest.max_augment_tokens == 12
    data = manifest.training["data"]
    assert {name: facts["rows"] for name, facts in data.items()} == {"cities": 8, "colours": 16}
    assert all(len(facts["sha256"]) == 64 for facts in data.values())
    assert manifest.training["machine"]["cores"] >= 1
    assert manifest.training["seconds"] > 0
    assert manifest.training["recipe"]["steps"] == STEPS
    assert "SmolLM2-135M-Instruct" not in manifest.licences
    assert all(name.startswith("merger.") for name in load_file(trained.output / VISION))


def test_an_image_document_goes_through_the_trained_merger(engine, tiny_data):
    picture = (tiny_data / "images" / "colours" / "red.png").read_bytes()
    (document,) = engine.embed([Item(image=picture)], EmbedOptions(input_type=InputType.DOCUMENT))
    assert document.image_tokens == 4
    assert np.linalg.norm(document.vector) == pytest.approx(1, abs=1e-5)


def test_training_again_is_the_same_training(trained, tiny_base, tiny_data, tmp_path):
    recipe = tiny_recipe(tiny_base, steps=STEPS, save_every=STEPS)
    places = Places(tiny_data, trained.run, tmp_path / "again")
    train(recipe, places, report=silent)  # the run is finished: only the export is repeated
    for name in ("adapter_model.safetensors", VISION):
        first, second = (load_file(folder / name) for folder in (trained.output, places.output))
        assert first.keys() == second.keys()
        assert all((first[key] == second[key]).all() for key in first)


def test_a_missing_subset_is_named(tiny_base, tiny_data, tmp_path):
    recipe = tiny_recipe(tiny_base, datasets={"cities": 1.0, "birds": 1.0})
    with pytest.raises(ValueError, match=r"birds\.parquet is missing.*drop 'birds'"):
        train(recipe, Places(tiny_data, tmp_path, tmp_path / "out"), report=silent)


def test_the_mini_base_needs_a_tower_for_pictures(tiny_base, tiny_data, tmp_path):
    recipe = tiny_recipe(tiny_base).model_copy(update={"base": "solomon-mini-base"})
    with pytest.raises(ValueError, match="--tower"):
        train(recipe, Places(tiny_data, tmp_path / "run", tmp_path / "out"), report=silent)
