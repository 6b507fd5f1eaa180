import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.decoder import Decoder
from model.kernels.library import VARIANTS, instruction_set
from model.native_prompt import NativePrompt, Sequences
from model.native_step import StepShape
from model.rope import prompt_positions
from tests.model.test_native_step import available, computing_with, torchs_threads
from tests.model.tiny import build_tiny_model, build_tokenizer

pytestmark = pytest.mark.skipif(
    instruction_set() in (None, "baseline"), reason="no compiled kernels are quicker than torch here"
)

CPU = torch.device("cpu")
MODEL = build_tiny_model(build_tokenizer())
COMPILED = Decoder(MODEL, torch.float32, CPU)
TORCHS = Decoder(MODEL, torch.float32, CPU, compiled=False)
MINI = StepShape(hidden=576, intermediate=1536, heads=9, kv_heads=3, head_dim=64)
LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=5)


def turns_of(rows, head_dim, drawn):
    angles = torch.randn(rows, head_dim // 2, generator=drawn)
    return torch.polar(torch.ones_like(angles), angles)


def attended(shape, states, turns, lengths):
    """Exactly, `[T, heads d]`; and what becomes of queries and keys, `[T, heads + kv_heads, d]`."""
    heads = states.double().view(len(states), -1, shape.head_dim)
    rotated = heads[:, : shape.heads + shape.kv_heads]
    pairs = torch.view_as_complex(rotated.unflatten(-1, (-1, 2))) * turns.to(torch.complex128)[:, None]
    turned = torch.view_as_real(pairs).flatten(-2).to(states.dtype).double()
    groups, mixed, start = shape.heads // shape.kv_heads, [], 0
    for length in lengths:
        query, key = turned[start : start + length].split([shape.heads, shape.kv_heads], dim=1)
        value = heads[start : start + length, -shape.kv_heads :]
        query, key, value = (each.transpose(0, 1) for each in (query, key, value))
        key, value = (each.repeat_interleave(groups, dim=0) for each in (key, value))
        scores = query @ key.transpose(1, 2) / shape.head_dim**0.5
        seen = torch.ones(length, length, dtype=torch.bool).tril()
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        mixed.append((weights @ value).transpose(0, 1).flatten(1))
        start += length
    return torch.cat(mixed), turned


@settings(deadline=None, max_examples=20)
@given(lengths=LENGTHS, wide=st.booleans(), behind=st.integers(0, 3), seed=st.integers(0, 2**31))
def test_attention_is_that_of_the_formula(lengths, wide, behind, seed):
    drawn, rows = torch.Generator().manual_seed(seed), sum(lengths) + behind
    dtype = torch.float32 if wide else torch.bfloat16
    states = (torch.randn(rows, 15 * 64, generator=drawn) * 2).to(dtype)
    turns = turns_of(rows, 64, drawn)
    expected, turned = attended(MINI, states, turns, lengths)
    tolerance = 1e-4 if wide else 2e-2
    for name in available():
        for threads in (1, 2, 5):
            with computing_with(name), torchs_threads(threads):
                found = states.clone()
                sequences = Sequences.of(lengths, turns)
                mixed = NativePrompt(MINI, 1e-6, threads).attend(found, sequences).double()
            torch.testing.assert_close(mixed[: sum(lengths)], expected, atol=tolerance, rtol=tolerance)
            assert not mixed[sum(lengths) :].any()
            queries_and_keys = found.view(rows, 15, 64)[: sum(lengths), :12].double()
            torch.testing.assert_close(
                queries_and_keys, turned[: sum(lengths)], atol=tolerance, rtol=tolerance
            )
            assert torch.equal(found.view(rows, 15, 64)[:, 12:], states.view(rows, 15, 64)[:, 12:])


def test_a_long_sequence_and_large_scores():
    """Many blocks of keys, and scores whose exponentials would overflow, were the largest not taken off."""
    drawn = torch.Generator().manual_seed(0)
    states, turns = torch.randn(700, 15 * 64, generator=drawn) * 8, turns_of(700, 64, drawn)
    expected, _ = attended(MINI, states, turns, [699, 1])
    for name in available():
        with computing_with(name):
            mixed = NativePrompt(MINI, 1e-6, 2).attend(states.clone(), Sequences.of([699, 1], turns))
        torch.testing.assert_close(mixed.double(), expected, atol=2e-3, rtol=2e-3)


@settings(deadline=None, max_examples=20)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    wide=st.booleans(),
    changed=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_a_norm_is_that_of_the_formula(rows, columns, wide, changed, seed):
    drawn, size = torch.Generator().manual_seed(seed), 16 * columns
    dtype = torch.float32 if wide else torch.bfloat16
    hidden, weight = torch.randn(rows, size, generator=drawn), torch.randn(size, generator=drawn)
    change = torch.randn(rows, size, generator=drawn).to(dtype) if changed else None
    stream = hidden if change is None else hidden + change
    expected = torch.nn.functional.rms_norm(stream.double(), (size,), weight.double(), 1e-6)
    for name in available():
        with computing_with(name):
            found = hidden.clone()
            normed = NativePrompt(replace(MINI, hidden=size), 1e-6, 2).norm(found, change, weight, dtype)
        assert torch.equal(found, stream)
        tolerance = 1e-5 if wide else 2**-8
        torch.testing.assert_close(normed.double(), expected, atol=1e-6, rtol=tolerance)


@settings(deadline=None, max_examples=20)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    packed=st.booleans(),
    seed=st.integers(0, 2**31),
)
@torch.inference_mode()
def test_a_pass_equals_torchs(lengths, packed, seed):
    longest = max(lengths)
    ids = torch.randint(0, 256, (len(lengths), longest), generator=torch.Generator().manual_seed(seed))
    positions = prompt_positions(longest, None)[:, None].expand(3, len(lengths), longest)
    ends = torch.tensor([[length - 1] for length in lengths])
    hidden = TORCHS.embed(ids)
    before = hidden.clone()
    sizes = lengths if packed else None
    expected, theirs = TORCHS.prefill(hidden, positions, ends, sizes)
    found, ours = COMPILED.prefill(hidden, positions, ends, sizes)
    assert torch.equal(hidden, before), "the caller's embeddings are its own"
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(ours.of(row, length), theirs.of(row, length), atol=2e-4, rtol=1e-3)


@torch.inference_mode()
def test_a_pass_in_bfloat16_is_as_near_as_torchs():
    ids, lengths = (
        torch.randint(0, 256, (5, 30), generator=torch.Generator().manual_seed(0)),
        [30, 3, 17, 1, 9],
    )
    positions = prompt_positions(30, None)[:, None].expand(3, 5, 30)
    ends = torch.tensor([[length - 1] for length in lengths])
    exact, _ = TORCHS.prefill(TORCHS.embed(ids), positions, ends, lengths)
    errors = []
    for compiled in (True, False):
        decoder = Decoder(MODEL, torch.bfloat16, CPU, compiled=compiled)
        hidden, _ = decoder.prefill(decoder.embed(ids), positions, ends, lengths)
        errors.append(((hidden - exact).norm() / exact.norm()).item())
    assert errors[0] < 1.5 * errors[1] < 0.1


UNEVEN = """
import torch
from model.native_prompt import NativePrompt, Sequences
from model.native_step import StepShape

drawn = torch.Generator().manual_seed(0)
states, angles = torch.randn(200, 15 * 64, generator=drawn), torch.randn(200, 32, generator=drawn)
torch.set_num_threads({threads})
shape = StepShape(hidden=576, intermediate=1536, heads=9, kv_heads=3, head_dim=64)
sequences = Sequences.of([150, 1, 49], torch.polar(torch.ones_like(angles), angles))
print(NativePrompt(shape, 1e-6, {threads}).attend(states, sequences).double().sum().item())
"""


def test_fewer_threads_than_asked_for_do_it_all():
    """As OpenMP gives under a limit, or within another parallel region."""
    found = set()
    for threads, limit in ((1, 8), (4, 8), (4, 2), (4, 1)):
        environment = {**os.environ, "OMP_THREAD_LIMIT": str(limit)}
        command = [sys.executable, "-c", UNEVEN.format(threads=threads)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1


@torch.inference_mode()
def test_what_is_not_finite_stays_in_its_sequence():
    drawn = torch.Generator().manual_seed(0)
    states, turns = torch.randn(9, 15 * 64, generator=drawn), turns_of(9, 64, drawn)
    states[2] = torch.nan
    for name in available():
        with computing_with(name):
            mixed = NativePrompt(MINI, 1e-6, 2).attend(states.clone(), Sequences.of([4, 5], turns))
        assert mixed[2:4].isnan().all()
        assert mixed[4:].isfinite().all()


def test_what_the_kernels_cannot_read_is_refused():
    between = NativePrompt(MINI, 1e-6, 2)
    sequences = Sequences.of([3], turns_of(3, 64, torch.Generator()))
    with pytest.raises(ValueError, match="contiguous"):
        between.attend(torch.zeros(15 * 64, 3).T, sequences)
    with pytest.raises(ValueError, match="contiguous"):
        between.attend(torch.zeros(4, 15 * 64), sequences)
    with pytest.raises(ValueError, match="stand in 3 rows"):
        Sequences.of([3, 1], turns_of(3, 64, torch.Generator()))
    with pytest.raises(ValueError, match="stand in 5 places"):
        COMPILED.prefill(
            torch.zeros(2, 5, 64), torch.zeros(3, 2, 5), torch.zeros(2, 1, dtype=torch.long), [5, 9]
        )
    with pytest.raises(ValueError, match="float32"):
        between.norm(torch.zeros(3, 20), None, torch.ones(20), torch.float32)
    with pytest.raises(ValueError, match="float32"):
        between.norm(torch.zeros(3, 576).double(), None, torch.ones(576), torch.float32)
    with pytest.raises(ValueError, match="float32"):
        between.norm(torch.zeros(3, 576), torch.zeros(3, 576).bfloat16(), torch.ones(576), torch.float32)


def test_where_the_kernels_do_not_suit_torch_computes():
    assert NativePrompt.suits(MINI, torch.bfloat16, CPU)
    assert not NativePrompt.suits(MINI, torch.float64, CPU)
    assert not NativePrompt.suits(MINI, torch.float32, torch.device("cuda"))
    with computing_with(VARIANTS[-1]):
        assert not NativePrompt.suits(MINI, torch.float32, CPU)
