"""What the engine answers: the same as the definition, whatever the batch, the order and the process."""

import io

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from model.engine import Engine, EngineSettings
from model.errors import EmptyItem, InputError, NotAnImage, TooLong
from model.images import ImageFormat, prepare_image
from model.prompts import PromptEncoder
from model.types import EmbedOptions, InputType, Item, Route, RouteChoice
from model.vision import encode_images
from tests.model.tiny import load_tiny

TEXTS = ["cat", "a dog", "Where is it?", "hello world", "x", "text 6", "capital of France", "foo " * 20]


def picture(seed, width=60, height=40):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


ITEMS = [
    *[Item(text=text) for text in TEXTS],
    Item(image=picture(1)),
    Item(text="What is this?", image=picture(2)),
    Item(text="And this, at some more length?", image=picture(1)),
]


def submit_at_once(engine, items, options):
    """Queue items while the engine's thread is held off, so that they can share a batch."""
    with engine._scheduler._changed:
        return [engine.submit(item, options) for item in items]


def gather(engine, items, options):
    return [future.result(timeout=60) for future in submit_at_once(engine, items, options)]


@pytest.fixture(scope="module")
def loaded():
    return load_tiny()


@pytest.fixture(scope="module")
def engine(loaded):
    engine = Engine(loaded, EngineSettings(dtype="float32", max_decoding=4))
    yield engine
    engine.close()


@torch.no_grad()
def two_passes(loaded, item, options):
    """The definition, in plain transformers: generate, then encode query and response again."""
    model, routes = loaded.model, loaded.routes
    image = prepare_image(item.image, loaded.image_format) if item.image else None
    encoder = PromptEncoder(loaded.tokenizer, loaded.prompt_format)
    ids = encoder.encode(item.text, options.instruction, image.token_count if image else 0)

    def inputs(sequence):
        tokens = torch.tensor([sequence])
        batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        if image:
            batch["pixel_values"] = image.patches
            batch["image_grid_thw"] = torch.tensor([image.grid_thw])
            batch["mm_token_type_ids"] = (tokens == routes.image_id).int()
        return batch

    first = model(**inputs(ids)).logits[0, -1, [routes.embed_id, routes.augment_id]].softmax(-1)
    forced = None if options.route is RouteChoice.AUTO else Route(options.route.value)
    route = forced or (Route.AUGMENT if first[1] >= loaded.threshold else Route.EMBED)
    if route is Route.EMBED:
        answer, whole = [], encoder.one_pass(ids)
    else:
        banned = [*routes.banned, *range(routes.vocabulary, model.config.text_config.vocab_size)]
        prompt = [*ids, routes.augment_id]
        generated = model.generate(
            **inputs(prompt),
            max_new_tokens=options.max_augment_tokens or loaded.max_augment_tokens,
            do_sample=False,
            suppress_tokens=banned,
            eos_token_id=routes.eos_id,
            pad_token_id=routes.eos_id,
        )
        answer = [token for token in generated[0, len(prompt) :].tolist() if token != routes.eos_id]
        whole = encoder.augmented(ids, answer)
    model.model.rope_deltas = None
    hidden = model.model(**inputs(whole)).last_hidden_state[0, -1]
    vector = torch.nn.functional.normalize(hidden, dim=-1).numpy()
    return vector, route, first[0 if route is Route.EMBED else 1].item(), answer


@pytest.mark.parametrize("choice", list(RouteChoice))
@pytest.mark.parametrize("instruction", [None, "Find the matching picture."])
def test_one_pass_equals_two_passes(engine, loaded, choice, instruction):
    options = EmbedOptions(route=choice, instruction=instruction)
    results = gather(engine, ITEMS, options)
    routes = set()
    for item, result in zip(ITEMS, results, strict=True):
        vector, route, confidence, answer = two_passes(loaded, item, options)
        np.testing.assert_allclose(result.vector, vector, atol=1e-4)
        assert result.route is route
        assert result.confidence == pytest.approx(confidence, abs=1e-4)
        assert result.augment_tokens == len(answer)
        assert result.decision == ("auto" if choice is RouteChoice.AUTO else "forced")
        assert (result.augmentation is None) is (route is Route.EMBED)
        routes.add(route)
    assert len(routes) == (2 if choice is RouteChoice.AUTO else 1), "the items must take both routes"


def test_answers_end_by_eos_and_by_budget(engine, loaded):
    """Guards the test above: the tiny model must show both ways in which an answer ends."""
    lengths = {
        result.augment_tokens for result in gather(engine, ITEMS, EmbedOptions(route=RouteChoice.AUGMENT))
    }
    assert loaded.max_augment_tokens in lengths
    assert any(length < loaded.max_augment_tokens for length in lengths)


@pytest.mark.parametrize("budget", [1, 3, 128])
def test_budget_of_the_request(engine, loaded, budget):
    options = EmbedOptions(route=RouteChoice.AUGMENT, max_augment_tokens=budget)
    for item in (ITEMS[0], ITEMS[6]):
        result = engine.embed([item], options)[0]
        vector, _, _, answer = two_passes(loaded, item, options)
        assert result.augment_tokens == len(answer) <= budget
        np.testing.assert_allclose(result.vector, vector, atol=1e-4)


def test_documents_take_no_route(engine, loaded):
    result = engine.embed([Item(text="a cat")], EmbedOptions(input_type=InputType.DOCUMENT))[0]
    ids = PromptEncoder(loaded.tokenizer).encode("a cat", input_type=InputType.DOCUMENT)
    with torch.no_grad():
        hidden = loaded.model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
    np.testing.assert_allclose(result.vector, torch.nn.functional.normalize(hidden, dim=-1), atol=1e-4)
    assert (result.route, result.confidence, result.decision, result.augmentation) == (None,) * 4
    assert (result.prompt_tokens, result.image_tokens) == (len(ids), 0)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(min_size=1, max_size=30).filter(str.strip), min_size=1, max_size=8),
    choice=st.sampled_from(list(RouteChoice)),
    order=st.randoms(use_true_random=False),
)
def test_batch_and_order_never_change_a_vector(engine, texts, choice, order):
    options = EmbedOptions(route=choice, max_augment_tokens=4)
    items = [Item(text=text) for text in texts]
    together = gather(engine, items, options)
    shuffled = order.sample(range(len(items)), len(items))
    again = gather(engine, [items[index] for index in shuffled], options)
    for index, item in enumerate(items):
        alone = engine.embed([item], options)[0]
        np.testing.assert_allclose(together[index].vector, alone.vector, atol=1e-4)
        np.testing.assert_allclose(again[shuffled.index(index)].vector, alone.vector, atol=1e-4)
        assert together[index].augmentation == alone.augmentation


def test_same_vectors_after_a_restart(engine):
    options = EmbedOptions()
    before = [engine.embed([item], options)[0] for item in ITEMS]
    other = Engine(load_tiny(), EngineSettings(dtype="float32", max_decoding=4))
    after = [other.embed([item], options)[0] for item in ITEMS]
    other.close()
    for first, second in zip(before, after, strict=True):
        # Where the arrays happen to lie in memory decides in which order the kernels add: the last bit only.
        np.testing.assert_allclose(first.vector, second.vector, rtol=0, atol=1e-6)
        assert first.augmentation == second.augmentation


def test_vectors_are_unit_float32(engine):
    for result in gather(engine, ITEMS, EmbedOptions()):
        assert result.vector.dtype == np.float32
        assert result.vector.shape == (engine.info.dimensions,)
        assert np.linalg.norm(result.vector) == pytest.approx(1.0, abs=1e-5)


def test_threshold_decides(engine):
    probability = {
        item: result.confidence if result.route is Route.AUGMENT else 1 - result.confidence
        for item, result in zip(ITEMS, gather(engine, ITEMS, EmbedOptions()), strict=True)
    }
    for threshold in (0.0, 0.3, 0.7, 0.95):
        results = gather(engine, ITEMS, EmbedOptions(augment_threshold=threshold))
        for item, result in zip(ITEMS, results, strict=True):
            assert (result.route is Route.AUGMENT) is (probability[item] >= threshold)


def test_a_repeated_image_is_encoded_once(engine, monkeypatch):
    encoded = []

    def counting(tower, images):
        encoded.extend(images)
        return encode_images(tower, images)

    monkeypatch.setattr("model.engine.runner.encode_images", counting)
    item = Item(image=picture(77))
    results = gather(engine, [item, item], EmbedOptions()) + engine.embed([item], EmbedOptions())
    assert len(encoded) == 1
    for result in results:
        np.testing.assert_allclose(result.vector, results[0].vector, atol=1e-4)
        assert result.image_tokens == 9


def test_dynamic_resolution_equals_two_passes():
    loaded = load_tiny(image_format=ImageFormat(None, 56 * 56, 28 * 28 * 20))
    engine = Engine(loaded, EngineSettings(dtype="float32"))
    items = [Item(text="wide", image=picture(3, 150, 60)), Item(text="tall", image=picture(4, 30, 140))]
    for item, result in zip(
        items, gather(engine, items, EmbedOptions(route=RouteChoice.AUGMENT)), strict=True
    ):
        vector, _, _, answer = two_passes(loaded, item, EmbedOptions(route=RouteChoice.AUGMENT))
        np.testing.assert_allclose(result.vector, vector, atol=1e-4)
        assert result.augment_tokens == len(answer)
    engine.close()


@pytest.mark.parametrize("choice", [RouteChoice.AUTO, RouteChoice.AUGMENT])
def test_the_engine_on_transformers_answers_the_same(engine, choice):
    other = Engine(load_tiny(), EngineSettings(dtype="float32", decoder="transformers"))
    options = EmbedOptions(route=choice)
    for first, second in zip(gather(engine, ITEMS, options), gather(other, ITEMS, options), strict=True):
        np.testing.assert_allclose(first.vector, second.vector, atol=1e-4)
        assert (first.route, first.augmentation) == (second.route, second.augmentation)
    other.close()


def test_bfloat16_stays_close(engine, loaded):
    other = Engine(loaded, EngineSettings(dtype="bfloat16"))
    options = EmbedOptions(route=RouteChoice.EMBED)
    for first, second in zip(engine.embed(ITEMS, options), other.embed(ITEMS, options), strict=True):
        assert float(first.vector @ second.vector) > 0.99
    assert other.info.dtype == "bfloat16"
    other.close()


@pytest.mark.parametrize(
    ("item", "options", "error", "field"),
    [
        (Item(), EmbedOptions(), EmptyItem, "text"),
        (Item(text="x" * 500), EmbedOptions(), TooLong, "text"),
        (Item(image=b"not an image"), EmbedOptions(), NotAnImage, "image"),
        (Item(image=picture(1)[:100]), EmbedOptions(), NotAnImage, "image"),
        (Item(text="x"), EmbedOptions(augment_threshold=1.5), InputError, "augment_threshold"),
        (Item(text="x"), EmbedOptions(augment_threshold=float("nan")), InputError, "augment_threshold"),
        (Item(text="x"), EmbedOptions(route="sometimes"), InputError, "route"),
        (Item(text="x"), EmbedOptions(max_augment_tokens=0), InputError, "max_augment_tokens"),
        (Item(text="x"), EmbedOptions(max_augment_tokens=100_000), InputError, "max_augment_tokens"),
    ],
)
def test_bad_input_is_refused_at_submission(engine, item, options, error, field):
    with pytest.raises(error) as caught:
        engine.submit(item, options)
    assert caught.value.field == field


def test_truncation_on_request(engine):
    result = engine.embed([Item(text="x" * 500)], EmbedOptions(truncate=True, route=RouteChoice.AUGMENT))[0]
    assert result.prompt_tokens == engine.info.max_prompt_tokens
    shorter = engine.embed([Item(text="x" * 400)], EmbedOptions(truncate=True, route=RouteChoice.AUGMENT))[0]
    np.testing.assert_allclose(result.vector, shorter.vector, atol=1e-5)


def test_plain_strings_spell_the_options(engine):
    spelled = engine.embed([Item(text="x")], EmbedOptions(route="augment"))[0]
    assert spelled.route is Route.AUGMENT
    document = engine.embed([Item(text="x")], EmbedOptions(input_type="document"))[0]
    assert document.route is None
