"""The mini base is SmolLM2, exactly, with a few more tokens; and it is built once."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from model import mini_base
from model.errors import DownloadError
from model.mini_base import NEW_TOKENS, SPARE_ROWS
from model.smollm import ensure_gguf
from model.smollm_gguf import read_smollm

PROMPTS = (
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "In 1969 the first people walked on the moon; twelve of them did in all,",
)


def silent(line):
    return None


def never(line):
    raise AssertionError(f"nothing had to be done, but: {line}")


@pytest.fixture(scope="module")
def gguf():
    return ensure_gguf(progress=silent)


@pytest.fixture(scope="module")
def source(gguf):
    return read_smollm(gguf)


@pytest.fixture(scope="module")
def tokenizer(source):
    return mini_base.build_tokenizer(source)


@pytest.fixture(scope="module")
def original(gguf):
    """The model as transformers itself reads the file."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def grafted(source, tokenizer):
    from transformers import Qwen2VLForConditionalGeneration

    torch.manual_seed(0)
    model = Qwen2VLForConditionalGeneration(mini_base.mini_config(source.config, tokenizer)).float().eval()
    mini_base.graft(source.weights, model, tokenizer)
    return model


def test_the_file_is_read_as_transformers_reads_it(source, original):
    expected = {name: tensor for name, tensor in original.state_dict().items() if name != "lm_head.weight"}
    assert source.weights.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(source.weights[name], tensor), name
    for setting in ("rope_parameters", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings"):
        assert getattr(source.config, setting) == getattr(original.config, setting), setting


@pytest.mark.parametrize("prompt", PROMPTS)
def test_grafted_logits_equal_the_originals_exactly(original, grafted, tokenizer, prompt):
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    assert ids.shape[1] >= 15
    with torch.inference_mode():
        expected, actual = original(ids).logits, grafted(ids).logits
    assert expected.shape[-1] == 49152
    assert actual.shape[-1] == 49152 + SPARE_ROWS
    assert (actual[..., :49152] - expected).abs().max().item() == 0.0
    assert expected.std() > 1  # the comparison is of a model that says something


def test_it_answers_as_smollm_does(grafted, tokenizer):
    ids = tokenizer(PROMPTS[0], return_tensors="pt").input_ids
    with torch.inference_mode():
        answer = grafted.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    assert "Paris" in tokenizer.decode(answer)


def test_new_rows_start_near_their_meaning(original, grafted, tokenizer):
    rows, words = grafted.get_input_embeddings().weight, original.get_input_embeddings().weight
    assert grafted.lm_head.weight is rows
    for token, phrase in NEW_TOKENS.items():
        expected = words[tokenizer(phrase).input_ids].mean(0)
        torch.testing.assert_close(rows[tokenizer.convert_tokens_to_ids(token)], expected)
    assert not rows[len(tokenizer) :].any()


def test_new_tokens_follow_the_vocabulary_and_are_single(tokenizer):
    ids = [tokenizer.convert_tokens_to_ids(token) for token in NEW_TOKENS]
    assert ids == list(range(49152, 49152 + len(NEW_TOKENS)))
    for token in (*NEW_TOKENS, "<|im_start|>", "<|im_end|>", "<|endoftext|>"):
        assert len(tokenizer(f"so{token}on").input_ids) == 3
    assert tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")


@pytest.mark.parametrize(
    "text",
    ["Hello, world!", "  two  spaces ", "naïve café 東京 🙂", "tab\tand\nline\r\n", "def f(x): return 2"],
)
def test_tokenizer_round_trips(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_digits_are_split_one_by_one(tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("In 1969, x123").input_ids)
    assert tokens == ["In", "Ġ", *"1969", ",", "Ġx", *"123"]


@pytest.fixture
def light(monkeypatch, tmp_path):
    """A cache in which building the base only writes its marks; returns the cache and the built folders."""
    built = []

    def build(gguf, folder):
        folder.mkdir()
        (folder / "model.safetensors").write_text(f"weights {len(built)}")
        (folder / "complete.json").write_text(json.dumps({"revision": mini_base.revision()}))
        built.append(folder)

    def have_gguf(cache=None, progress=print):
        cache.mkdir(parents=True, exist_ok=True)
        return cache / "weights.gguf"

    monkeypatch.setattr(mini_base, "build_mini_base", build)
    monkeypatch.setattr(mini_base, "ensure_gguf", have_gguf)
    return tmp_path / "cache", built


def test_the_base_is_built_once(light):
    cache, built = light
    folder = mini_base.ensure_mini_base(cache, silent)
    assert folder == mini_base.mini_base_path(cache)
    assert mini_base.ensure_mini_base(cache, never) == folder
    assert len(built) == 1
    assert [entry.name for entry in cache.iterdir()] == [folder.name]


def test_an_incomplete_folder_is_built_again(light):
    cache, built = light
    folder = mini_base.ensure_mini_base(cache, silent)
    (folder / "complete.json").unlink()
    (folder / "half.safetensors").write_text("cut sh")
    said = []
    assert mini_base.ensure_mini_base(cache, said.append) == folder
    assert len(built) == 2
    assert said
    assert not (folder / "half.safetensors").exists()
    assert (folder / "complete.json").exists()


def test_an_interrupted_build_leaves_nothing_that_counts(light, monkeypatch):
    cache, _ = light

    def fail(gguf, folder):
        folder.mkdir()
        (folder / "model.safetensors").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mini_base, "build_mini_base", fail)
        with pytest.raises(KeyboardInterrupt):
            mini_base.ensure_mini_base(cache, silent)
    assert list(cache.iterdir()) == []
    assert (mini_base.ensure_mini_base(cache, silent) / "complete.json").exists()


def test_starting_together_builds_once(light, monkeypatch):
    cache, built = light
    build, waiting = mini_base.build_mini_base, threading.Event()

    def build_once_the_other_waits(gguf, folder):
        assert waiting.wait(timeout=60)
        build(gguf, folder)

    def say(line):
        if "waiting" in line:
            waiting.set()

    monkeypatch.setattr(mini_base, "build_mini_base", build_once_the_other_waits)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(mini_base.ensure_mini_base, cache, say) for _ in range(2)]
        folders = [future.result(timeout=60) for future in both]
    assert len(built) == 1
    assert folders == [mini_base.mini_base_path(cache)] * 2
    assert [entry.name for entry in cache.iterdir()] == [folders[0].name]


def test_a_cache_that_cannot_be_written_is_named_with_a_mend(light, tmp_path):
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    with pytest.raises(DownloadError, match=r"a-file.*SOLOMON_CACHE_DIR"):
        mini_base.ensure_mini_base(blocked, silent)
