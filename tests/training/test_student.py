"""What is trained is what is served: the student's vectors and logits are the engine's."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from model.checkpoint import load_base, load_model
from model.engine import Engine, EngineSettings
from model.images import ImageFormat
from model.prompts import PromptEncoder
from model.types import EmbedOptions, InputType, Item, RouteChoice
from tests.training.tiny_data import image_rows, text_rows, tiny_recipe
from training.batches import BatchBuilder
from training.features import image_paths, tower_features
from training.mmeb import strip_image_marker
from training.pictures import CachedFeatures
from training.student import Student, add_lora

FORMAT = ImageFormat(56)


def silent(line):
    return None


@pytest.fixture(scope="module")
def untrained(tiny_base, tiny_data, tmp_path_factory):
    """A student whose adapter does nothing yet, and its batch builder."""
    model, tokenizer = load_base(str(tiny_base), silent)
    prompts = PromptEncoder(tokenizer)
    features = tower_features(
        model.model.visual,
        image_paths(image_rows()),
        tiny_data / "images",
        FORMAT,
        tmp_path_factory.mktemp("features"),
    )
    adapted = add_lora(model, tiny_recipe(tiny_base), prompts.routes)
    images = CachedFeatures(features, 2)
    return Student(adapted, prompts.routes, images).eval(), BatchBuilder(prompts, images, 64, 12)


@torch.no_grad()
def test_its_vectors_are_the_engines(untrained, tiny_base, tiny_data):
    student, builder = untrained
    rows = [*text_rows()[:2], *image_rows()[:4]]
    queries = [builder.query(replace(row, augmentation="")) for row in rows]
    documents = [builder.document(row.pos_text, row.pos_image_path) for row in rows]
    trained = torch.cat([student(queries).pooled, student(documents).pooled])

    def item(text, path):
        return Item(
            strip_image_marker(text) or None, (tiny_data / "images" / path).read_bytes() if path else None
        )

    loaded = replace(load_model(tiny_base, silent), image_format=FORMAT)
    engine = Engine(loaded, EngineSettings(dtype="float32"))
    served = engine.embed(
        [item(row.qry, row.qry_image_path) for row in rows], EmbedOptions(route=RouteChoice.EMBED)
    )
    served += engine.embed(
        [item(row.pos_text, row.pos_image_path) for row in rows], EmbedOptions(input_type=InputType.DOCUMENT)
    )
    engine.close()
    vectors = torch.stack([torch.from_numpy(embedding.vector) for embedding in served])
    # Texts agree to rounding; images lose a little where the tower's features are kept in bf16.
    has_image = [bool(row.qry_image_path) for row in rows] + [bool(row.pos_image_path) for row in rows]
    similarity = torch.cosine_similarity(trained, vectors)
    for image, value in zip(has_image, similarity.tolist(), strict=True):
        assert value > (0.998 if image else 0.99999)


@torch.no_grad()
def test_padding_changes_nothing_and_logits_stand_before_their_tokens(untrained):
    student, builder = untrained
    rows = [text_rows()[0], image_rows()[0], text_rows()[5]]
    sequences = [builder.query(row) for row in rows]
    together = student(sequences)
    start = 0
    for number, sequence in enumerate(sequences):
        alone = student([sequence])
        torch.testing.assert_close(together.pooled[number], alone.pooled[0], atol=1e-5, rtol=1e-4)
        part = slice(start, start + sequence.response)
        start += sequence.response
        torch.testing.assert_close(
            together.response_logits[part], alone.response_logits, atol=1e-3, rtol=1e-3
        )
        assert together.response[part].tolist() == sequence.ids[-sequence.response :]
    assert start == len(together.response)
    text = sequences[0]
    logits = student.qwen(torch.tensor([text.ids])).logits[0]
    expected = logits[-text.response - 1 : -1]
    torch.testing.assert_close(together.response_logits[: text.response], expected, atol=1e-3, rtol=1e-3)


def test_a_packed_batch_teaches_what_the_padded_one_does(untrained):
    """The gradients of the packed pass are those of transformers' own padded pass."""
    student, builder = untrained
    rows = [text_rows()[5], image_rows()[0], text_rows()[0], image_rows()[3], text_rows()[2]]
    sequences = [builder.query(row) for row in rows]
    learns = [parameter for parameter in student.parameters() if parameter.requires_grad]
    torch.manual_seed(0)
    goal = torch.randn(len(sequences), student.qwen.config.text_config.hidden_size)
    packed = torch.autograd.grad((student(sequences).pooled * goal).sum(), learns, allow_unused=True)

    longest = max(len(sequence.ids) for sequence in sequences)
    ids = torch.tensor([s.ids + [0] * (longest - len(s.ids)) for s in sequences])
    positions = torch.stack(
        [F.pad(student._positions(s), (0, longest - len(s.ids))) for s in sequences], dim=1
    )
    embedded = student._with_images(student.qwen.get_input_embeddings()(ids), ids, sequences)
    hidden = student.qwen.model.language_model(inputs_embeds=embedded, position_ids=positions)[0]
    last = torch.tensor([len(s.ids) - 1 for s in sequences])
    pooled = F.normalize(hidden[torch.arange(len(last)), last], dim=-1)
    padded = torch.autograd.grad((pooled * goal).sum(), learns, allow_unused=True)
    assert sum(gradient is not None for gradient in packed) > len(learns) / 2
    for ours, theirs in zip(packed, padded, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)


def test_only_the_adapter_and_the_route_rows_learn(untrained):
    student, _ = untrained
    learns = [name for name, parameter in student.named_parameters() if parameter.requires_grad]
    assert all("lora_" in name or "trainable_tokens_delta" in name for name in learns)
    assert sum("lora_A" in name for name in learns) == 2 * 7  # layers, projections
    assert not any("visual" in name for name in learns)


def test_features_come_from_the_cache_of_the_same_tower_only(tiny_base, tiny_data, tmp_path):
    tower = load_base(str(tiny_base), silent)[0].model.visual
    images, paths = tiny_data / "images", image_paths(image_rows())
    first = tower_features(tower, paths[:3], images, FORMAT, tmp_path)
    more = tower_features(tower, paths, images, FORMAT, tmp_path)
    again = tower_features(tower, paths, tmp_path / "no images are read", FORMAT, tmp_path)
    assert list(again) == paths
    assert all(torch.equal(first[path], more[path]) for path in first)
    assert all(torch.equal(more[path], again[path]) for path in paths)
    assert again[paths[0]].shape == (16, 32)
    with torch.no_grad():
        tower.blocks[0].mlp.fc1.weight.add_(0.1)
    other = tower_features(tower, paths[:1], images, FORMAT, tmp_path)
    assert not torch.equal(other[paths[0]], more[paths[0]])


def test_images_of_any_size_are_refused_with_the_field(tiny_base, tiny_data, tmp_path):
    with pytest.raises(ValueError, match="image_side"):
        tower_features(None, ["x.png"], tiny_data, ImageFormat(None), tmp_path)
