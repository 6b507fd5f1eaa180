import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.reporting import resident_bytes
from model.baseline import TransformersDecoder
from model.decoder import Decoder
from model.kv_cache import KVCache
from model.linear import Linear, packs
from model.rope import ImageSpan, prompt_positions
from tests.model.tiny import build_tiny_model, build_tokenizer

TOKENIZER = build_tokenizer()
MODEL = build_tiny_model(TOKENIZER)
CPU = torch.device("cpu")
DECODER = Decoder(MODEL, torch.float32, CPU)
IMAGE_ID = MODEL.config.image_token_id
PLAIN = st.lists(st.integers(0, 255), min_size=1, max_size=24)


BASELINE = TransformersDecoder(MODEL, torch.float32, CPU)
both = pytest.mark.parametrize("decoder", [DECODER, BASELINE], ids=["solomon", "transformers"])


def close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=1e-3)


def reference(ids, grid_thw=None, features=None):
    """transformers' final hidden states of one sequence, `[L, H]`."""
    tokens = torch.tensor([ids])
    options = {}
    embeddings = MODEL.get_input_embeddings()(tokens)
    if grid_thw is not None:
        positions, _ = MODEL.model.get_rope_index(
            tokens, (tokens == IMAGE_ID).int(), image_grid_thw=torch.tensor([grid_thw])
        )
        embeddings = embeddings.masked_scatter((tokens == IMAGE_ID)[..., None], features)
        options["position_ids"] = positions
    return MODEL.model.language_model(inputs_embeds=embeddings, use_cache=False, **options).last_hidden_state[
        0
    ]


def inputs(sequences, spans=None, features=None):
    """Embeddings `[B, L, H]` and positions `[3, B, L]` of padded sequences."""
    spans = spans or [None] * len(sequences)
    longest = max(map(len, sequences))
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    positions = torch.zeros(3, len(sequences), longest, dtype=torch.long)
    for row, (sequence, span) in enumerate(zip(sequences, spans, strict=True)):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        positions[:, row, : len(sequence)] = prompt_positions(len(sequence), span)
    hidden = DECODER.embed(ids)
    for row, span in enumerate(spans):
        if span is not None:
            hidden[row, span.start : span.start + span.count] = features[row]
    return hidden, positions


def prefill(sequences, spans=None, features=None, decoder=DECODER, packed=False):
    """The decoder's final hidden states at every index, `[B, L, H]`, and the kept keys and values."""
    hidden, positions = inputs(sequences, spans, features)
    lengths = list(map(len, sequences))
    indices = torch.arange(hidden.shape[1]).expand(len(sequences), -1)
    wanted = torch.minimum(indices, torch.tensor(lengths)[:, None] - 1)
    return decoder.prefill(hidden, positions, wanted, lengths if packed else None)


def image_sequence(before, rows, columns, after):
    return [*before, *[IMAGE_ID] * (rows * columns), *after], ImageSpan(len(before), rows, columns)


@given(before=PLAIN, rows=st.integers(1, 6), columns=st.integers(1, 6), after=PLAIN)
def test_positions_equal_transformers(before, rows, columns, after):
    ids, span = image_sequence(before, rows, columns, after)
    tokens = torch.tensor([ids])
    expected, delta = MODEL.model.get_rope_index(
        tokens, (tokens == IMAGE_ID).int(), image_grid_thw=torch.tensor([[1, rows * 2, columns * 2]])
    )
    assert torch.equal(prompt_positions(len(ids), span), expected[:, 0])
    assert span.delta == delta.item()


@both
@torch.inference_mode()
def test_text_equals_transformers(decoder):
    ids = TOKENIZER("<|im_start|>user\nWhere do they live?<|im_end|>")["input_ids"]
    hidden, _ = prefill([ids], decoder=decoder)
    close(hidden[0], reference(ids))
    close(decoder.logits(hidden[0]), MODEL.lm_head(reference(ids)))
    close(decoder.logits_of(hidden[0], [5, 9]), MODEL.lm_head(reference(ids))[:, [5, 9]])


@both
@torch.inference_mode()
def test_mixed_padded_batch_equals_transformers(decoder):
    first, first_span = image_sequence([1, 2, 3], 2, 4, [9, 8, 7, 6])
    second = [11, 12]
    third, third_span = image_sequence([4], 3, 3, [5] * 20)
    features = {0: torch.randn(8, 64), 2: torch.randn(9, 64)}
    hidden, _ = prefill([first, second, third], [first_span, None, third_span], features, decoder)
    close(hidden[0, : len(first)], reference(first, [1, 4, 8], features[0]))
    close(hidden[1, :2], reference(second))
    close(hidden[2], reference(third, [1, 6, 6], features[2]))


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@settings(deadline=None, max_examples=30)
@given(sequences=st.lists(PLAIN, min_size=1, max_size=6))
@torch.inference_mode()
def test_batched_equals_one_by_one(packed, sequences):
    hidden, kept = prefill(sequences, packed=packed)
    for row, sequence in enumerate(sequences):
        alone, own = prefill([sequence])
        states, expected = (found.of(at, len(sequence)).float() for found, at in ((kept, row), (own, 0)))
        torch.testing.assert_close(states, expected, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(hidden[row, : len(sequence)], alone[0], atol=2e-5, rtol=1e-4)


@both
@settings(deadline=None, max_examples=15)
@given(prompts=st.lists(PLAIN, min_size=1, max_size=4), tails=st.lists(PLAIN, min_size=4, max_size=4))
@torch.inference_mode()
def test_decoding_after_a_crop_equals_a_full_forward(decoder, prompts, tails):
    cache = KVCache(2, 6, 2, 64, 16, torch.float32, CPU)
    cache.states.fill_(50.0)  # whatever lies past a slot's length must not matter
    noisy = [[*prompt, 250, 251] for prompt in prompts]
    rows = list(range(len(prompts)))
    _, kept = prefill(noisy, decoder=decoder)
    slots = [cache.allocate(kept.of(row, len(prompts[row]))) for row in rows]
    running = dict(zip(slots, zip(prompts, tails, strict=False), strict=True))
    for step in range(max(map(len, tails))):
        active = {slot: pair for slot, pair in running.items() if step < len(pair[1])}
        if not active:
            break
        tokens = [tail[step] for _, tail in active.values()]
        hidden = decoder.decode(tokens, [cache.lengths[slot] for slot in active], list(active), cache)
        for row, (slot, (prompt, tail)) in enumerate(active.items()):
            cache.lengths[slot] += 1
            close(hidden[row], reference([*prompt, *tail[: step + 1]])[-1])


@both
@torch.inference_mode()
def test_decoding_after_an_image_continues_its_positions(decoder):
    ids, span = image_sequence([1, 2, 3], 3, 2, [9, 8])
    features = torch.randn(6, 64)
    _, kept = prefill([ids], [span], [features], decoder)
    cache = KVCache(2, 1, 2, 32, 16, torch.float32, CPU)
    slot = cache.allocate(kept.of(0, len(ids)))
    hidden = decoder.decode([77], [len(ids) + span.delta], [slot], cache)
    close(hidden[0], reference([*ids, 77], [1, 6, 4], features)[-1])


@torch.inference_mode()
def test_bfloat16_stays_close():
    decoder = Decoder(MODEL, torch.bfloat16, CPU)
    ids = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])
    positions = prompt_positions(8, None)[:, None]
    hidden, _ = decoder.prefill(decoder.embed(ids), positions, torch.tensor([[7]]))
    expected = reference(ids[0].tolist())[-1]
    assert hidden.dtype == torch.float32
    assert torch.cosine_similarity(hidden[0, 0], expected, dim=0) > 0.99


@both
@settings(deadline=None, max_examples=15)
@given(before=PLAIN, after=PLAIN, part=st.integers(1, 20))
@torch.inference_mode()
def test_a_prompt_in_parts_equals_one_pass(decoder, before, after, part):
    ids, span = image_sequence(before, 3, 2, after)
    features = torch.randn(6, 64)
    hidden, positions = inputs([ids], [span], [features])
    states = torch.full((2, 2, 2, len(ids), 16), float("nan"))  # what is not yet written must not matter
    final = []
    for start in range(0, len(ids), part):
        end = min(start + part, len(ids))
        for _ in range(2):  # a part that is run again changes nothing
            found = decoder.extend(
                hidden[0, start:end], positions[:, 0, start:end], range(end - start), states, start
            )
        final.append(found)
    close(torch.cat(final), reference(ids, [1, 6, 4], features))
    _, kept = prefill([ids], [span], [features], decoder)
    close(states, kept.of(0, len(ids)))


@torch.inference_mode()
def test_slots_apart_and_out_of_order_decode_as_alone():
    prompts = [[1, 2, 3], [4, 5, 6, 7], [8, 9], [10, 11, 12]]
    _, kept = prefill(prompts)
    cache = KVCache(2, 4, 2, 16, 16, torch.float32, CPU)
    for row, prompt in enumerate(prompts):
        cache.allocate(kept.of(row, len(prompt)))
    for slots in ([3, 0], [1, 2, 3], [2], [0, 2, 3]):
        hidden = DECODER.decode([40] * len(slots), [cache.lengths[slot] for slot in slots], slots, cache)
        for row, slot in enumerate(slots):
            close(hidden[row], reference([*prompts[slot], 40])[-1])


@pytest.mark.skipif(not packs(CPU, torch.float32), reason="this torch has no oneDNN")
@torch.inference_mode()
def test_packed_products_meet_few_numbers_of_rows(monkeypatch):
    """oneDNN keeps a kernel for each of them, for ever."""
    met = set()
    original = Linear.__call__
    monkeypatch.setattr(Linear, "__call__", lambda self, rows: met.add(len(rows)) or original(self, rows))
    for lengths in ([5], [16], [3, 9, 4], [7, 7], [30, 1]):
        prefill([[1] * length for length in lengths], packed=True)
    states = torch.zeros(2, 2, 2, 40, 16)
    hidden, positions = inputs([[1] * 21])
    for start, end in ((0, 13), (13, 21)):
        DECODER.extend(hidden[0, start:end], positions[:, 0, start:end], [0], states, start)
    assert met == {8, 16, 32}


COMPILING = """
import sys, torch
from model.engine import EngineSettings
from model.engine.runner import Runner
from tests.model.tiny import load_tiny

runner = Runner(load_tiny(), EngineSettings(device="cpu", dtype="float32", threads=1, max_batch_tokens=100))
with torch.inference_mode():
    runner.warm()
    print("warm", flush=True)
    for rows in range(1, 101):
        hidden = runner.decoder.embed(torch.ones(1, rows, dtype=torch.long))
        positions = torch.zeros(3, 1, rows, dtype=torch.long)
        runner.decoder.prefill(hidden, positions, torch.tensor([[0]]), [rows])
"""


@pytest.mark.skipif(not packs(CPU, torch.float32), reason="this torch has no oneDNN")
def test_a_warm_decoder_waits_for_no_compiler():
    environment = {**os.environ, "ONEDNN_VERBOSE": "profile_create"}
    command = [sys.executable, "-c", COMPILING]
    written = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    before, after = written.split("\nwarm\n")
    assert "create:cache_miss" in before
    assert "create:cache_hit" in after
    assert "create:cache_miss" not in after


def test_slots_are_allocated_lowest_first_and_freed_once():
    cache = KVCache(1, 2, 1, 8, 4, torch.float32, CPU)
    prompt = torch.ones(1, 2, 1, 3, 4)
    assert [cache.allocate(prompt), cache.allocate(prompt)] == [0, 1]
    assert (cache.free_slots, cache.capacity, cache.lengths) == (0, 8, [3, 3])
    with pytest.raises(IndexError):
        cache.allocate(prompt)
    cache.free(0)
    with pytest.raises(ValueError, match="free already"):
        cache.free(0)
    assert cache.allocate(prompt) == 0


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="this system does not tell a process's memory"
)
def test_short_prompts_in_many_slots_claim_little_memory():
    """Huge pages would claim two megabytes for every layer and head of a slot."""
    cache = KVCache(30, 32, 3, 2048, 64, torch.float32, CPU)
    before = resident_bytes()
    for _ in range(16):
        cache.allocate(torch.ones(30, 2, 3, 10, 64))
    assert resident_bytes() - before < 128 * 2**20  # 16 slots are 1.4 GiB


def test_a_copy_that_fails_leaves_its_slot_free():
    cache = KVCache(1, 2, 1, 8, 4, torch.float32, CPU)
    with pytest.raises(RuntimeError):
        cache.allocate(torch.ones(1, 2, 1, 9, 4))  # longer than a slot
    assert cache.free_slots == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_cache_is_zero_and_can_be_written(dtype):
    cache = KVCache(2, 3, 2, 5, 4, dtype, CPU)
    assert (cache.states.shape, cache.states.dtype) == ((2, 2, 3, 2, 5, 4), dtype)
    assert not cache.states.any()
    cache.allocate(torch.ones(2, 2, 2, 3, 4))
    assert cache.states.sum() == 2 * 2 * 2 * 3 * 4


@torch.inference_mode()
def test_a_slot_that_held_nan_is_clean_for_the_next():
    cache = KVCache(2, 2, 2, 16, 16, torch.float32, CPU)
    for place in range(2):
        cache.allocate(torch.full((2, 2, 2, 6 + place, 16), float("nan")))
    cache.states[:, :, 1, :, 7] = float("nan")  # written by a step that failed before it advanced
    cache.free(0)
    cache.free(1)
    prompts = [[1, 2], [3, 4, 5, 6, 7, 8, 9]]
    _, kept = prefill(prompts)
    slots = [cache.allocate(kept.of(row, len(prompts[row]))) for row in (0, 1)]
    hidden = DECODER.decode([40, 41], [2, 7], slots, cache)
    close(hidden[0], reference([1, 2, 40])[-1])
    close(hidden[1], reference([*prompts[1], 41])[-1])


def test_unsupported_variants_are_refused():
    model = build_tiny_model(TOKENIZER)
    model.model.language_model.config.hidden_act = "gelu"
    with pytest.raises(ValueError, match="silu"):
        Decoder(model, torch.float32, CPU)
