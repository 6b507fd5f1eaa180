import copy
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.decoder import Decoder
from model.engine import Engine, EngineSettings
from model.engine.runner import Runner
from model.kernels.library import GROUP, ROWS, VARIANTS, instruction_set, use_instruction_set
from model.kv_cache import KVCache
from model.native_step import (
    NativeStep,
    StepShape,
    StepWeight,
    quantised,
)
from model.rope import prompt_positions
from tests.model.tiny import build_tiny_model, build_tokenizer, load_tiny

pytestmark = pytest.mark.skipif(instruction_set() is None, reason="the kernels are not compiled here")

CPU = torch.device("cpu")
TASKS = Path("/proc/self/task")
MODEL = build_tiny_model(build_tokenizer())
PROMPTS = st.lists(st.lists(st.integers(0, 255), min_size=1, max_size=20), min_size=1, max_size=5)


def available():
    chosen, found = instruction_set(), []
    for name in VARIANTS:
        try:
            use_instruction_set(name)
        except ValueError:
            continue
        found.append(name)
    if chosen is not None:
        use_instruction_set(chosen)
    return found


@contextmanager
def computing_with(name):
    chosen = instruction_set()
    use_instruction_set(name)
    try:
        yield
    finally:
        use_instruction_set(chosen)


@contextmanager
def torchs_threads(number):
    """The kernels take no more threads than torch has."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(params=available())
def instructions(request):
    with computing_with(request.param):
        yield request.param


def restored(weight: StepWeight):
    """The float32 weight that the int8 one stands for, `[out, in]`."""
    scales = weight.blocks[..., : 4 * ROWS].contiguous().view(torch.float32)
    values = weight.blocks[..., 4 * ROWS :].contiguous().view(torch.int8)
    values = values.unflatten(-1, (GROUP // 2, ROWS, 2)).transpose(2, 3).flatten(3)
    wide = (values * scales[..., None]).transpose(1, 2).flatten(2).flatten(0, 1)
    return wide[: weight.rows, : weight.columns]


def rounded_rows(x):
    """Activations as a product takes them: int16, with a scale for every group."""
    groups = torch.nn.functional.pad(x, (0, -x.shape[1] % GROUP)).unflatten(1, (-1, GROUP))
    scales = groups.abs().amax(-1, keepdim=True) / 32767
    return ((groups / scales.clamp_min(1e-30)).round() * scales).flatten(1)[:, : x.shape[1]]


def rounded_model():
    """The tiny model with weights that int8 holds exactly, so that every difference is the kernels'."""
    model = copy.deepcopy(MODEL)
    with torch.no_grad():
        for name, weight in [
            *model.model.language_model.named_parameters(),
            *model.lm_head.named_parameters(),
        ]:
            if weight.ndim == 2:
                weight.copy_(restored(quantised(weight)))
            elif name.endswith("bias"):
                weight.normal_()
    return model


ROUNDED = rounded_model()
EXACT = Decoder(ROUNDED, torch.float32, CPU)
NATIVE = Decoder(ROUNDED, torch.float32, CPU, int8_steps=True)


def product_of(head, threads=2):
    """A step that has nothing but an output matrix."""
    shape = StepShape(hidden=head.columns, intermediate=16, heads=1, kv_heads=1, head_dim=16)
    return NativeStep(shape, [], torch.ones(head.columns), head, 1e-6, threads)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 30),
    columns=st.integers(1, 12),
    count=st.integers(1, 7),
    scale=st.floats(1e-4, 1e4),
    seed=st.integers(0, 2**31),
)
def test_a_product_equals_that_of_the_restored_weight(rows, columns, count, scale, seed):
    drawn = torch.Generator().manual_seed(seed)
    weight = quantised(torch.randn(rows, 16 * columns, generator=drawn))
    x = torch.randn(count, 16 * columns, generator=drawn) * scale
    exact = restored(weight).double()
    expected = rounded_rows(x).double() @ exact.T
    size = x.double().norm(dim=1, keepdim=True) * exact.norm(
        dim=1
    )  # what a sum's rounding is in proportion to
    for name in available():
        with computing_with(name):
            error = (product_of(weight).logits(x) - expected).abs() / size
        assert error.max() < 1 / 32767, name  # one activation between two numbers may go to the other
        assert ((x.double() @ exact.T - expected).abs() / size).max() < 1e-4, "activations keep 15 bits"


def test_a_restored_weight_is_within_half_a_step_of_the_original():
    weight = torch.randn(7, 96) * torch.logspace(-3, 3, 7)[:, None]
    steps = weight.abs().amax(1, keepdim=True) / 127
    assert ((restored(quantised(weight)) - weight).abs() <= steps / 2 + 1e-9).all()
    assert restored(quantised(torch.zeros(3, 80))).abs().max() == 0


def decoded(decoder, prompts, tails, dtype=torch.float32):
    """Final hidden states of tokens that follow prompts, step by step: `[steps, n, H]`."""
    cache = KVCache(2, 8, 2, 40, 16, dtype, CPU)
    cache.states.fill_(50.0)  # whatever lies past a slot's length must not matter
    slots = []
    for prompt in prompts:
        ids, positions = torch.tensor([prompt]), prompt_positions(len(prompt), None)[:, None]
        _, kept = EXACT.prefill(EXACT.embed(ids), positions, torch.zeros(1, 1, dtype=torch.long))
        slots.append(cache.allocate(kept.of(0, len(prompt))))
    found = []
    for step in range(len(tails[0])):
        lengths = [cache.lengths[slot] for slot in slots]
        found.append(decoder.decode([tail[step] for tail in tails], lengths, slots, cache).clone())
        for slot in slots:
            cache.lengths[slot] += 1
    return torch.stack(found)


@settings(deadline=None, max_examples=20)
@given(prompts=PROMPTS, seed=st.integers(0, 2**31))
@torch.inference_mode()
def test_steps_equal_torchs_on_the_same_weights(prompts, seed):
    tails = torch.randint(0, 256, (len(prompts), 4), generator=torch.Generator().manual_seed(seed)).tolist()
    expected = decoded(EXACT, prompts, tails)
    for name in available():
        with computing_with(name):
            found = decoded(NATIVE, prompts, tails)
        torch.testing.assert_close(found, expected, atol=3e-3, rtol=1e-2)


@torch.inference_mode()
def test_bfloat16_keys_and_values(instructions):
    prompts, tails = [[1, 2, 3, 4, 5], [6, 7]], [[8, 9, 10], [11, 12, 13]]
    exact, found = decoded(EXACT, prompts, tails), decoded(NATIVE, prompts, tails, torch.bfloat16)
    assert torch.cosine_similarity(exact.flatten(0, 1), found.flatten(0, 1)).min() > 0.9999


@torch.inference_mode()
def test_the_number_of_threads_changes_nothing(instructions):
    head, x = quantised(torch.randn(101, 96)), torch.randn(3, 96)
    expected = product_of(head, threads=1).logits(x)
    for threads in (2, 3, 7):
        with torchs_threads(threads):
            assert torch.equal(product_of(head, threads).logits(x), expected)


@torch.inference_mode()
def test_a_step_is_the_same_with_any_number_of_threads(instructions):
    """Without one of the barriers inside a step, members would read what others have yet to write."""
    prompts = [[1, 2, 3, 4, 5], [6, 7], [8], [9, 10, 11]]
    tails = [[number, number + 1] for number in range(12, 16)]
    expected = decoded(Decoder(ROUNDED, torch.float32, CPU, int8_steps=True, threads=1), prompts, tails)
    for threads in (2, 3, 7):
        decoder = Decoder(ROUNDED, torch.float32, CPU, int8_steps=True, threads=threads)
        for _ in range(5):
            with torchs_threads(threads):
                assert torch.equal(decoded(decoder, prompts, tails), expected)


def test_the_engines_threads_are_the_steps_too():
    runner = Runner(load_tiny(), EngineSettings(device="cpu", threads=1, int8_steps=True))
    assert runner.decoder.step_threads == 1


def test_an_engine_says_by_what_it_decodes(monkeypatch):
    """Asked for or not: sizes that the kernels do not support are torch's."""
    automatic = EngineSettings(device="cpu", int8_steps=True)
    assert described(automatic) == f"{instruction_set()} int8"
    assert described(EngineSettings(device="cpu", dtype="float32")) == "torch"
    assert described(EngineSettings(device="cpu", decoder="transformers")) == "transformers"
    monkeypatch.setattr(StepShape, "is_supported", False)
    assert described(automatic) == "torch"


def described(settings):
    engine = Engine(load_tiny(), settings)
    engine.close()
    return engine.info.decoding


@torch.inference_mode()
def test_keys_and_values_are_rounded_to_bfloat16_as_torch_rounds(instructions):
    stored = {}
    for dtype in (torch.float32, torch.bfloat16):
        cache = KVCache(2, 1, 2, 8, 16, dtype, CPU)
        NATIVE.decode([77], [0], [cache.allocate(torch.zeros(2, 2, 2, 0, 16))], cache)
        stored[dtype] = cache.states[0, :, 0, :, 0]  # the first layer's: no later one rounds its input
    assert torch.equal(stored[torch.bfloat16], stored[torch.float32].bfloat16())


@torch.inference_mode()
def test_torchs_default_dtype_does_not_matter():
    head, x = quantised(torch.randn(64, 96)), torch.randn(3, 96)
    expected = product_of(head).logits(x)
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = product_of(head).logits(x)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, expected)


def test_what_the_kernels_cannot_read_is_refused():
    step = product_of(quantised(torch.randn(4, 96)))
    for rows in (torch.ones(1, 80), torch.ones(1, 96).double(), torch.ones(96)):
        with pytest.raises(ValueError, match="float32"):
            step.logits(rows)
    with pytest.raises(ValueError, match="multiples of 16"):
        product_of(quantised(torch.randn(4, 40)))
    cache = KVCache(2, 1, 2, 8, 16, torch.float16, CPU)
    with pytest.raises(ValueError, match="bfloat16"):
        NATIVE.decode([1], [0], [cache.allocate(torch.zeros(2, 2, 2, 1, 16))], cache)


@torch.inference_mode()
def test_logits_and_batches(instructions):
    hidden = torch.randn(5, 64)
    together = NATIVE.logits(hidden)
    torch.testing.assert_close(together, EXACT.logits(hidden), atol=1e-3, rtol=1e-3)
    alone = torch.cat([NATIVE.logits(row[None]) for row in hidden])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


@torch.inference_mode()
def test_the_true_weights_rounded_keep_the_vectors(instructions):
    prompts, tails = [[1, 2, 3, 4, 5], [6, 7], [8]], [[8, 9, 10], [11, 12, 13], [14, 15, 16]]
    rounded = Decoder(MODEL, torch.float32, CPU, int8_steps=True)
    exact, found = (
        decoded(Decoder(MODEL, torch.float32, CPU), prompts, tails),
        decoded(rounded, prompts, tails),
    )
    # With rows of 64 random weights rounding tells more than with a real model's; tests/e2e asks that one.
    assert torch.cosine_similarity(exact.flatten(0, 1), found.flatten(0, 1)).mean() > 0.999
    assert rounded.decode_bytes < Decoder(MODEL, torch.float32, CPU).decode_bytes / 3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_stays_so(instructions, value):
    x = torch.ones(2, 96)
    x[0, 70] = value
    result = product_of(quantised(torch.randn(9, 96))).logits(x)
    assert not torch.isfinite(result[0]).any()
    assert torch.isfinite(result[1]).all()


@torch.inference_mode()
def test_a_full_slot_is_refused():
    cache = KVCache(2, 1, 2, 8, 16, torch.float32, CPU)
    slot = cache.allocate(torch.zeros(2, 2, 2, 8, 16))
    with pytest.raises(IndexError, match="holds 8 positions"):
        NATIVE.decode([1], [8], [slot], cache)


def test_sizes_that_do_not_fit_are_known():
    fitting = {"hidden": 64, "intermediate": 96, "heads": 4, "kv_heads": 2, "head_dim": 16}
    assert StepShape(**fitting).is_supported
    for name, value in {"hidden": 72, "intermediate": 100, "head_dim": 20, "kv_heads": 3}.items():
        assert not StepShape(**{**fitting, name: value}).is_supported


@pytest.mark.skipif(not TASKS.is_dir(), reason="this system does not list a process's threads")
def test_threads_are_torchs_own():
    torch.ones(500, 500) @ torch.ones(500, 500)  # torch's own threads have started
    before = len(list(TASKS.iterdir()))
    for _ in range(20):
        product_of(quantised(torch.randn(4, 16))).logits(torch.ones(1, 16))
    assert len(list(TASKS.iterdir())) <= before


def test_an_instruction_set_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="mmx"):
        use_instruction_set("mmx")


def test_int8_steps_are_for_dtype_auto_on_a_cpu():
    assert EngineSettings(device="cpu").quantises_steps()
    assert not EngineSettings(device="cpu", dtype="float32").quantises_steps()
    with computing_with("baseline"):
        assert not EngineSettings(device="cpu").quantises_steps()  # slower than torch
    with pytest.raises(ValueError, match="int8_steps"):
        EngineSettings(device="cuda", int8_steps=True)
    assert EngineSettings(device="cpu", dtype="float32", int8_steps=True).quantises_steps()
