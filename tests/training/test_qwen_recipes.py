"""The recipes for real Qwen2-VL train, on a model of its shape with few layers and narrow ones."""

import json
import math

import pytest
import torch
from PIL import Image
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from model.checkpoint import load_base, load_model, read_manifest
from model.engine import Engine, EngineSettings
from model.types import EmbedOptions, InputType, Item, RouteChoice
from tests.model.tiny import SPECIAL_TOKENS, build_tokenizer
from training.joint import Places, train
from training.mmeb import IMAGE_MARKER, HardNegative, TrainingRow, write_rows
from training.recipe import Recipe, load_recipe

SIZES = ((120, 60), (57, 140), (30, 30), (200, 90), (84, 84), (61, 62))


def silent(line):
    return None


def save_narrow_qwen(folder, tied):
    """Qwen2-VL's architecture (heads of 128, one key-value head for seven, untied in the 7B), made small."""
    tokenizer = build_tokenizer()
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer) + 7,
            "hidden_size": 896,
            "intermediate_size": 1024,
            "num_hidden_layers": 1,
            "num_attention_heads": 7,
            "num_key_value_heads": 1,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1_000_000.0,
                "mrope_section": [16, 24, 24],
            },
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={"depth": 1, "embed_dim": 160, "hidden_size": 896, "num_heads": 2},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=tied,
    )
    torch.manual_seed(0)
    Qwen2VLForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_shards(folder):
    """One MMEB dataset as the hub has it, with images of different sizes and two hard negatives."""
    rows = []
    for number, size in enumerate(SIZES):
        path = folder / "images" / "photos" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (40 * number, 255 - 40 * number, 90)).save(path)
        rows.append(
            TrainingRow(
                f"{IMAGE_MARKER}\nWhat is it?",
                f"photos/{number}.png",
                pos_text=f"thing {number}",
                neg_text=f"thing {number - 1}",
                augmentation=f"It is thing {number}." if number % 2 else "",
                more_negatives=(HardNegative("", f"photos/{(number + 1) % len(SIZES)}.png"),),
            )
        )
    write_rows(folder / "train" / "VOC2007" / "original-00000-of-00001.parquet", rows)
    return folder


def small(recipe, base, **changes):
    """The shipped recipe, with only the sizes changed that this machine cannot hold."""
    sizes = {
        "base": str(base),
        "datasets": ["VOC2007"],
        "steps": 3,
        "batch_size": 4,
        "chunk_size": 3,
        "warmup_steps": 1,
        "save_every": 2,
        "max_pixels": 28 * 28 * 12,
    }
    return Recipe(**{**recipe.model_dump(), **sizes, **changes})


@pytest.mark.parametrize("name", ["qwen2-vl-7b", "qwen2-vl-2b"])
def test_the_recipe_trains_on_images_of_different_sizes(tmp_path, name):
    base = save_narrow_qwen(tmp_path / "base", tied=name == "qwen2-vl-2b")  # as the real ones are
    data = write_shards(tmp_path / "data")
    recipe = small(load_recipe(name), base, matryoshka={"128": 0.5, "896": 1.0}, hard_negatives=2)
    places = Places(data, tmp_path / "run", tmp_path / "checkpoint")
    train(recipe, places, "cpu", silent, tensorboard=True)

    entries = [json.loads(line) for line in (places.run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [1, 2, 3]
    assert all(math.isfinite(entry[figure]) for entry in entries for figure in ("l_rep", "l_gen"))
    assert all(0.5 <= entry["confidence"] <= 1 for entry in entries)
    assert all(entry["gradient_norm"] > 0 for entry in entries)
    assert list((places.run / "tensorboard").iterdir())

    manifest = read_manifest(places.output)
    assert manifest.dimensions == [128, 896]
    assert manifest.image_format == {
        "square_side": None,
        "min_pixels": 3136,
        "max_pixels": 28 * 28 * 12,
        "patch_size": 14,
    }
    assert "vision.safetensors" not in manifest.files  # the tower is the base's own, frozen
    assert manifest.training["data"]["VOC2007"]["rows"] == len(SIZES)

    engine = Engine(load_model(places.output, silent), EngineSettings())
    picture = (data / "images" / "photos" / "3.png").read_bytes()
    (query,) = engine.embed([Item("What is it?", picture)], EmbedOptions(route=RouteChoice.AUGMENT))
    (document,) = engine.embed([Item(None, picture)], EmbedOptions(input_type=InputType.DOCUMENT))
    engine.close()
    assert query.image_tokens == document.image_tokens > 4
    assert query.vector.shape == (896,)


def test_vision_lora_is_the_adapters_and_is_served(tmp_path):
    """LoRA in the tower leaves no weights of its own in vision.safetensors; a trained merger does."""
    base, data = save_narrow_qwen(tmp_path / "base", tied=True), write_shards(tmp_path / "data")
    recipe = small(load_recipe("qwen2-vl-2b"), base, vision_tower="lora", merger_learning_rate=1e-3)
    places = Places(data, tmp_path / "run", tmp_path / "checkpoint")
    train(recipe, places, "cpu", silent)
    manifest = read_manifest(places.output)
    assert "vision.safetensors" in manifest.files
    loaded = load_model(places.output, silent).model
    plain, _ = load_base(str(base), silent)
    changed = [
        name
        for (name, one), two in zip(
            loaded.model.visual.named_parameters(), plain.model.visual.parameters(), strict=True
        )
        if not torch.equal(one.float(), two.float())
    ]
    assert any(name.startswith("blocks.0.attn.qkv") for name in changed)
    assert any(name.startswith("merger.") for name in changed)
    assert not any(name.startswith("patch_embed") for name in changed)


@pytest.mark.parametrize("name", ["qwen2-vl-7b", "qwen2-vl-2b"])
def test_the_recipes_keep_the_papers_values(name):
    recipe = load_recipe(name)
    assert (recipe.lora_rank, recipe.alpha_gen, recipe.hard_negatives) == (16, 0.1, 1)
    assert len(recipe.datasets) == len(set(recipe.datasets)) == 20
    assert recipe.image_side is None
    assert recipe.batch_size % 8 == 0


def test_the_longest_prefix_is_the_whole_vector(tmp_path):
    base, data = save_narrow_qwen(tmp_path / "base", tied=True), write_shards(tmp_path / "data")
    recipe = small(load_recipe("qwen2-vl-2b"), base, matryoshka={"128": 1.0})
    with pytest.raises(ValueError, match="896 the longest"):
        train(recipe, Places(data, tmp_path / "run", tmp_path / "out"), "cpu", silent)
