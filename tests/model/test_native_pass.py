"""A prefill in one call: by the portable kernels everywhere, and by AMX where there is any."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import decoder as decoder_module
from model.decoder import Decoder
from model.kernels.library import instruction_set
from model.kv_cache import KVCache
from model.native_pass import NativePass
from model.native_prompt import Sequences
from model.rope import prompt_positions
from tests.model.test_native_step import available, computing_with, torchs_threads
from tests.model.tiny import build_tiny_model, build_tokenizer

pytestmark = pytest.mark.skipif(instruction_set() is None, reason="no kernels are compiled here")

CPU = torch.device("cpu")
MODEL = build_tiny_model(build_tokenizer())
EXACT = Decoder(MODEL, torch.float32, CPU, compiled=False)
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def whole():
    """A decoder that prefills in tiles, whatever the processor has."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decoder_module, "tiles_suit", lambda *arguments: True)
        return Decoder(MODEL, torch.bfloat16, CPU, threads=2)


def inputs(decoder, prompts, longest):
    ids = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts])
    positions = prompt_positions(longest, None)[:, None].expand(3, len(prompts), longest)
    return decoder.embed(ids), positions


def prefill(decoder, prompts):
    lengths = [len(prompt) for prompt in prompts]
    hidden, positions = inputs(decoder, prompts, max(lengths))
    ends = torch.tensor([[length - 1] for length in lengths])
    found, kept = decoder.prefill(hidden, positions, ends, lengths)
    return found[:, 0], [kept.of(row, length) for row, length in enumerate(lengths)]


def drawn_prompts(lengths, seed):
    drawn = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, (length,), generator=drawn).tolist() for length in lengths]


def error(found, exact):
    return ((found.float() - exact).norm() / exact.norm()).item()


@settings(deadline=None, max_examples=20)
@given(lengths=LENGTHS, seed=st.integers(0, 2**31))
@torch.inference_mode()
def test_a_pass_is_as_near_as_torchs(whole, lengths, seed):
    prompts = drawn_prompts(lengths, seed)
    expected, theirs = prefill(EXACT, prompts)
    torchs, _ = prefill(Decoder(MODEL, torch.bfloat16, CPU, compiled=False), prompts)
    bound = max(0.02, 1.5 * error(torchs, expected))
    for name in available():
        for threads in (1, 2, 5):
            with computing_with(name), torchs_threads(threads):
                found, ours = prefill(whole, prompts)
            assert error(found, expected) < bound
            for kept, exact in zip(ours, theirs, strict=True):
                assert error(kept, exact) < 0.03


@settings(deadline=None, max_examples=20)
@given(lengths=LENGTHS, seed=st.integers(0, 2**31))
@torch.inference_mode()
def test_a_prompt_is_the_same_in_any_batch(whole, lengths, seed):
    """To the last bit: neither route nor vector depends on who else asks."""
    prompts = drawn_prompts(lengths, seed)
    for name in available():
        with computing_with(name):
            together, kept = prefill(whole, prompts)
            for row, prompt in enumerate(prompts):
                alone, [own] = prefill(whole, [prompt])
                assert torch.equal(alone[0], together[row])
                assert torch.equal(own, kept[row])


@torch.inference_mode()
def test_the_callers_embeddings_stay_as_they_are(whole):
    hidden, positions = inputs(whole, [[1, 2, 3]], 3)
    before = hidden.clone()
    whole.prefill(hidden, positions, torch.tensor([[2]]))
    assert torch.equal(hidden, before)


@torch.inference_mode()
def test_decoding_and_parts_go_on_from_it(whole):
    """Keys and values are those that a step and a part of a long prompt continue with."""
    prompt = drawn_prompts([21], 0)[0]
    expected, _ = prefill(EXACT, [prompt])
    _, [kept] = prefill(whole, [prompt[:20]])
    cache = KVCache(2, 1, 2, 40, 16, torch.bfloat16, CPU)
    slot = cache.allocate(kept)
    assert error(whole.decode([prompt[20]], [20], [slot], cache), expected) < 0.03
    states = torch.zeros(2, 2, 2, 40, 16, dtype=torch.bfloat16)
    hidden, positions = inputs(whole, [prompt], 21)
    for start, end in ((0, 13), (13, 21)):
        found = whole.extend(hidden[0, start:end], positions[:, 0, start:end], [-1], states, start)
    assert error(found, expected) < 0.03


@torch.inference_mode()
def test_what_the_kernels_cannot_read_is_refused(whole):
    layers: NativePass = whole._native_pass
    turns = torch.ones(3, 8, dtype=torch.complex64)
    with pytest.raises(ValueError, match="contiguous"):
        layers.run(torch.zeros(64, 3).T, Sequences.of([3], turns))
    with pytest.raises(ValueError, match="have 3 tokens, not 4"):
        layers.run(torch.zeros(4, 64), Sequences.of([3], turns))
    with pytest.raises(ValueError, match="contiguous"):
        layers.run(torch.zeros(3, 64), Sequences.of([3], torch.ones(4, 8, dtype=torch.complex64)))
