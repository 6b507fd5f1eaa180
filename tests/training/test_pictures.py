"""Images of any size run through the tower in training as they do in serving."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

import training.pictures
from model.checkpoint import load_base, load_model
from model.engine import Engine, EngineSettings
from model.images import ImageFormat
from model.prompts import PromptEncoder
from model.types import EmbedOptions, InputType, Item, RouteChoice
from tests.training.tiny_data import tiny_recipe
from training.batches import BatchBuilder
from training.mmeb import TrainingRow
from training.pictures import CachedFeatures, LiveImages, RecentImages
from training.student import Student, add_lora

SIZES = {"wide.png": (120, 60), "tall.png": (57, 140), "small.png": (30, 30)}
FORMAT = ImageFormat(None, 56 * 56, 28 * 28 * 8)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes")
    for number, (name, size) in enumerate(SIZES.items()):
        noise = torch.Generator().manual_seed(number)
        pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=noise, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / name)
    return folder


def student_of(base, images, **changes):
    recipe = tiny_recipe(base, image_side="any", **{"vision_tower": "frozen", **changes})
    model, tokenizer = load_base(str(base), lambda line: None)
    prompts = PromptEncoder(tokenizer)
    torch.manual_seed(0)
    student = Student(add_lora(model, recipe, prompts.routes), prompts.routes, images)
    return student, BatchBuilder(prompts, images, 64, 12)


@torch.no_grad()
def test_vectors_of_images_of_different_sizes_are_the_engines(tiny_base, root):
    student, builder = student_of(tiny_base, LiveImages(root, FORMAT))
    rows = [TrainingRow("What?", name, pos_text="p") for name in SIZES]
    batch = builder.build("sizes", rows)
    grids = [builder.images.grid(name) for name in SIZES]
    assert len(set(grids)) == 3
    together = student(batch.queries).pooled
    documents = student([builder.document("", name) for name in SIZES]).pooled
    engine = Engine(
        replace(load_model(tiny_base, lambda line: None), image_format=FORMAT),
        EngineSettings(dtype="float32"),
    )
    pictures = [(root / name).read_bytes() for name in SIZES]
    served = engine.embed(
        [Item("What?", picture) for picture in pictures], EmbedOptions(route=RouteChoice.EMBED)
    )
    indexed = engine.embed(
        [Item(None, picture) for picture in pictures], EmbedOptions(input_type=InputType.DOCUMENT)
    )
    engine.close()
    assert [one.image_tokens for one in served] == [rows * columns for rows, columns in grids]
    for trained, engines in ((together, served), (documents, indexed)):
        vectors = torch.stack([torch.from_numpy(one.vector) for one in engines])
        assert torch.cosine_similarity(trained, vectors).min() > 0.9999


def test_a_frozen_tower_gets_no_gradient_and_lora_in_it_does(tiny_base, root):
    rows = [TrainingRow("What?", name, pos_text="p") for name in SIZES]
    learning = {}
    for kind in ("frozen", "lora"):
        student, builder = student_of(tiny_base, LiveImages(root, FORMAT), vision_tower=kind)
        student(builder.build("sizes", rows).queries).pooled.square()[:, 0].sum().backward()
        learning[kind] = {
            name: bool(p.grad is not None and p.grad.any())
            for name, p in student.named_parameters()
            if ".visual." in name and p.requires_grad
        }
    assert not learning["frozen"]
    assert len(learning["lora"]) == 2 * 4 * 2  # two blocks, four projections, A and B
    assert all(found for name, found in learning["lora"].items() if "lora_B" in name)


def test_checkpointing_the_tower_changes_no_gradient(tiny_base, root):
    rows = [TrainingRow("What?", name, pos_text="p") for name in SIZES]
    found = []
    for checkpointing in (False, True):
        images = LiveImages(root, FORMAT, checkpointing)
        student, builder = student_of(tiny_base, images, vision_tower="lora")
        student(builder.build("sizes", rows).queries).pooled[:, 0].sum().backward()
        found.append({n: p.grad for n, p in student.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert any(".visual." in name for name in found[0])
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])


def test_an_image_is_read_once_while_it_is_kept(root, monkeypatch):
    images = LiveImages(root, FORMAT)
    reads = []
    read = images._read
    monkeypatch.setattr(images, "_read", lambda path: reads.append(path) or read(path))
    images.prepare(["wide.png", "wide.png", "tall.png"])
    images.prepare(["tall.png"])
    assert images.grid("wide.png") == (2, 4)
    assert sorted(reads) == ["tall.png", "wide.png"]


@torch.no_grad()
def test_a_frozen_tower_encodes_an_image_once_and_a_learning_one_every_time(tiny_base, root, monkeypatch):
    encoded = []
    encode = training.pictures.encode_images
    monkeypatch.setattr(
        training.pictures, "encode_images", lambda v, images: encoded.append(len(images)) or encode(v, images)
    )
    for kind, expected in (("frozen", [2, 1]), ("lora", [2, 3])):
        student, _ = student_of(tiny_base, LiveImages(root, FORMAT), vision_tower=kind)
        visual, images = student.qwen.model.visual, student.images
        encoded.clear()
        first = images.tokens(visual, ["wide.png", "tall.png"], torch.float32)
        again = images.tokens(visual, ["tall.png", "wide.png", "small.png"], torch.float32)
        assert encoded == expected
        rows, columns = images.grid("wide.png")
        tall = len(first) - rows * columns
        assert torch.allclose(again[tall : tall + rows * columns], first[: rows * columns], atol=1e-6)


def test_what_was_unused_for_longest_goes_first():
    recent = RecentImages(10, len)
    for path in ("a", "b", "c"):
        recent.keep(path, "four")  # the third is too much
    assert recent.among("abc") == {"b": "four", "c": "four"}
    assert recent.among("b")
    recent.keep("d", "four")
    assert set(recent.among("abcd")) == {"b", "d"}
    recent.keep("e", "more than the limit")
    assert set(recent.among("abcde")) == {"e"}
    assert len(recent) == 1


def test_a_broken_image_is_named(root):
    (root / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png cannot be used: .*not"):
        LiveImages(root, FORMAT).prepare(["broken.png"])
    with pytest.raises(ValueError, match=r"absent\.png cannot be used"):
        LiveImages(root, FORMAT).grid("absent.png")


def test_a_text_has_its_own_room_where_images_differ(tiny_base, root):
    prompts = PromptEncoder(load_base(str(tiny_base), lambda line: None)[1])
    live = BatchBuilder(prompts, LiveImages(root, FORMAT), 64, 12)
    assert live.max_tokens(None) == 64 + 16
    assert live.max_tokens("wide.png") == 64 + 16 + 8
    square = BatchBuilder(prompts, CachedFeatures({}, 4), 64, 12)
    assert square.max_tokens(None) == square.max_tokens("any.png") == 64 + 16 + 16
