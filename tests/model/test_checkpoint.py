"""What a checkpoint's folder promises: it comes back as it was trained, and damage is named."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model import checkpoint, mini_base
from model.checkpoint import (
    MANIFEST,
    VISION,
    Base,
    Manifest,
    load_base,
    load_model,
    read_manifest,
    verify,
    write_manifest,
)
from model.errors import CheckpointError
from model.prompts import PromptEncoder, RouteTokens
from tests.model.tiny import SPECIAL_TOKENS
from tests.model.tiny_base import save_tiny_base
from training.export import export_checkpoint, vision_weights
from training.recipe import Recipe
from training.student import add_lora


def silent(line):
    return None


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def base(request, tmp_path_factory):
    return save_tiny_base(tmp_path_factory.mktemp("base") / "tiny-qwen2-vl", tied=request.param)


@dataclass
class Exported:
    folder: Path
    adapted: object
    routes: RouteTokens
    ids: torch.Tensor
    base_rows: torch.Tensor


def randomise(adapted):
    """Weights as if trained: LoRA's B starts at zero, so without this the adapter would do nothing."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)


@pytest.fixture(scope="module")
def exported(base, tmp_path_factory):
    """A checkpoint of the tiny base with every trainable weight moved, and the model that it was made of."""
    model, tokenizer = load_base(str(base), silent)
    routes = RouteTokens.from_tokenizer(tokenizer)
    rows = model.get_input_embeddings().weight[[routes.embed_id, routes.augment_id]].clone()
    recipe = Recipe(name="tiny", base=str(base), datasets={"a": 1}, steps=1, lora_rank=4, image_side=84)
    adapted = add_lora(model, recipe, routes)
    model.model.visual.merger.requires_grad_(True)
    randomise(adapted)
    folder = tmp_path_factory.mktemp("exported") / "checkpoint"
    vision = vision_weights(model.model.visual, whole=False)
    assert vision
    assert all(name.startswith("merger.") for name in vision)
    export_checkpoint(folder, adapted, recipe, "local", vision, {"rows": {"a": 3}})
    prompts = PromptEncoder(tokenizer)
    ids = torch.tensor([prompts.augmented(prompts.encode("Where is it?"), prompts.plain_ids("here"))])
    return Exported(folder, adapted.eval(), routes, ids, rows)


@pytest.fixture
def copy(exported, tmp_path):
    """The checkpoint again, to be damaged."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in exported.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def edit_manifest(folder, **changes):
    raw = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(raw | changes))


def test_a_plain_folder_loads_and_says_that_its_routes_are_untrained(base):
    said = []
    loaded = load_model(base, said.append)
    assert loaded.name == "tiny-qwen2-vl"
    assert loaded.revision == "local"
    assert loaded.image_format.square_side is None
    assert "untrained" in said[-1]
    assert not loaded.model.training


def test_a_base_without_route_tokens_gets_them_in_spare_rows(tmp_path):
    folder = save_tiny_base(tmp_path / "base", special_tokens=SPECIAL_TOKENS[:-2])
    loaded = load_model(folder, silent)
    assert (loaded.routes.embed_id, loaded.routes.augment_id) == (263, 264)
    assert loaded.model.get_input_embeddings().num_embeddings == 272  # nothing was resized


def test_a_base_without_spare_rows_is_refused(tmp_path):
    crowded = [*SPECIAL_TOKENS[:-2], *(f"<|extra_{n}|>" for n in range(9))]
    folder = save_tiny_base(tmp_path / "base", special_tokens=crowded)
    with pytest.raises(CheckpointError, match="no unused row"):
        load_model(folder, silent)


def test_an_unknown_name_without_network_says_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="cannot be loaded") as caught:
        load_model("nobody/no-such-qwen2-vl", silent)
    assert "Give a folder with a Qwen2-VL" in str(caught.value)
    assert "connect to its hub" in str(caught.value)


def test_without_a_network_the_cache_is_read_at_once(monkeypatch):
    asked = []

    def unreachable(hub, name, **options):
        asked.append(name)
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a file was asked for as well"))
    with pytest.raises(CheckpointError, match="couldn't find them in the cached files"):
        load_model("nobody/no-such-qwen2-vl", silent)
    assert asked == ["nobody/no-such-qwen2-vl"]


def test_a_folder_that_holds_no_model_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"neither a solomon\.json nor"):
        load_model(tmp_path, silent)


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(CheckpointError, match="There is no folder /nowhere/at/all"):
        load_model("/nowhere/at/all", silent)


def edit_weights(folder, change):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def test_missing_weights_are_not_made_up(tmp_path):
    folder = save_tiny_base(tmp_path / "base")
    edit_weights(folder, lambda found: {name: t for name, t in found.items() if "layers.1." not in name})
    with pytest.raises(CheckpointError, match=r"lacks weights, .*layers\.1\."):
        load_model(folder, silent)


def test_weights_of_another_shape_are_refused_in_a_sentence(tmp_path):
    folder = save_tiny_base(tmp_path / "base")
    edit_weights(folder, lambda found: {n: t[:-1].clone() if "norm" in n else t for n, t in found.items()})
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_model(folder, silent)


def test_a_model_of_another_kind_is_refused(tmp_path):
    folder = save_tiny_base(tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "qwen2"}))
    with pytest.raises(CheckpointError, match="it is a qwen2, and Solomon serves Qwen2-VL"):
        load_model(folder, silent)


def test_pickled_weights_are_refused(tmp_path):
    folder = save_tiny_base(tmp_path / "base")
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_model(folder, silent)


def test_a_folder_is_known_by_its_content_and_not_by_its_path(tmp_path, monkeypatch):
    folder = save_tiny_base(tmp_path / "base")
    first = load_model(folder, silent).checkpoint_sha256
    monkeypatch.chdir(tmp_path)
    assert load_model("base", silent).checkpoint_sha256 == first
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_model("~/base", silent).checkpoint_sha256 == first
    edit_weights(folder, lambda found: {name: tensor / 2 for name, tensor in found.items()})
    assert load_model(folder, silent).checkpoint_sha256 != first


@torch.no_grad()
def test_a_checkpoint_comes_back_as_it_was_trained(exported):
    loaded = load_model(exported.folder, silent)
    adapted = exported.adapted.get_base_model()
    expected = adapted.model.language_model(exported.ids).last_hidden_state
    actual = loaded.model.model.language_model(exported.ids).last_hidden_state
    similarity = torch.cosine_similarity(expected, actual, dim=-1)
    assert similarity.min() > 0.999  # the adapter is stored in bf16
    logits = adapted.lm_head(expected), loaded.model.lm_head(actual)
    assert (logits[0] - logits[1]).abs().max() < 0.05 * logits[0].abs().max()
    with exported.adapted.disable_adapter():
        base = adapted.model.language_model(exported.ids).last_hidden_state
    assert torch.cosine_similarity(base, expected, dim=-1).max() < 0.99  # the adapter does something


@torch.no_grad()
def test_the_trained_route_rows_arrive_in_both_matrices(exported):
    loaded = load_model(exported.folder, silent)
    rows = [exported.routes.embed_id, exported.routes.augment_id]
    qwen = exported.adapted.get_base_model()
    trained = qwen.get_input_embeddings()(torch.tensor(rows))
    arrived = loaded.model.get_input_embeddings().weight[rows]
    torch.testing.assert_close(arrived, trained, atol=5e-3, rtol=1e-2)
    assert (arrived - exported.base_rows).abs().max() > 0.1
    probe = torch.randn(5, 64)
    torch.testing.assert_close(
        loaded.model.lm_head(probe)[:, rows], qwen.lm_head(probe)[:, rows], atol=0.1, rtol=1e-2
    )
    if qwen.config.tie_word_embeddings:
        torch.testing.assert_close(loaded.model.lm_head.weight[rows], arrived, atol=0, rtol=0)
    others = [n for n in range(272) if n not in rows]
    plain, _ = load_base(loaded.base, silent)
    for name in ("get_input_embeddings", "get_output_embeddings"):
        before, after = (getattr(model, name)().weight[others] for model in (plain, loaded.model))
        torch.testing.assert_close(after, before, atol=0, rtol=0)


def test_the_trained_merger_arrives_and_the_tower_is_the_bases(exported):
    loaded = load_model(exported.folder, silent)
    trained = exported.adapted.get_base_model().model.visual.state_dict()
    plain = load_base(loaded.base, silent)[0].model.visual.state_dict()
    for name, tensor in loaded.model.model.visual.state_dict().items():
        torch.testing.assert_close(tensor, trained[name], atol=1e-2, rtol=1e-2)
        assert torch.equal(tensor, plain[name]) != name.startswith("merger.")


def test_no_path_of_this_machine_is_written(exported, base, tmp_path):
    recipe = Recipe(name="tiny", base="owner/name", datasets={"a": 1}, steps=1)
    export_checkpoint(tmp_path / "out", exported.adapted, recipe, "local", {}, {})
    for name in (MANIFEST, "adapter_config.json"):
        assert str(base) not in (tmp_path / "out" / name).read_text()
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "owner/name"


def test_the_manifest_tells_what_it_was_made_of(exported, base):
    manifest = verify(exported.folder)
    assert set(manifest.files) == {"adapter_config.json", "adapter_model.safetensors", VISION}
    assert manifest.base == Base(model=str(base), revision="local")
    assert manifest.image_format["square_side"] == 84
    assert manifest.training["rows"] == {"a": 3}


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", VISION])
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_one_flipped_bit_is_found_and_named(copy, name, place):
    data = bytearray((copy / name).read_bytes())
    data[round(place * (len(data) - 1))] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{name} is corrupt"):
        load_model(copy, silent)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", VISION])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name} is missing"):
        load_model(copy, silent)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format version 2; this Solomon reads 1"),
        ({"format_version": None}, "format version None"),
        ({"augment_threshold": 1.5}, "augment_threshold"),
        ({"pooling": "mean"}, "pooling"),
        ({"surprise": 1}, "surprise"),
        ({"base": {"model": "x"}}, r"base\.revision"),
        ({"files": {}}, "lists no adapter_config.json"),
    ],
)
def test_an_invalid_manifest_names_the_field(copy, changes, message):
    edit_manifest(copy, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_model(copy, silent)


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "\x00"])
def test_a_manifest_that_is_no_json_object_is_an_error(copy, text):
    (copy / MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match=MANIFEST):
        load_model(copy, silent)


def test_a_folder_without_manifest_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="no Solomon checkpoint"):
        read_manifest(tmp_path)


def test_another_revision_of_the_mini_base_is_refused(copy, base, monkeypatch):
    edit_manifest(copy, base={"model": mini_base.NAME, "revision": "0-abc"})
    monkeypatch.setattr(mini_base, "ensure_mini_base", lambda progress: base)
    with pytest.raises(CheckpointError, match=r"revision 0-abc of solomon-mini-base"):
        load_model(copy, silent)


def test_the_base_is_asked_for_at_the_commit_of_the_manifest(copy, monkeypatch):
    asked = []

    def ask(name, revision, local_files_only):
        assert not local_files_only
        asked.append((name, revision))
        raise OSError("no network")

    monkeypatch.setattr(checkpoint, "_hub_answers", lambda name: True)
    monkeypatch.setattr(checkpoint.AutoConfig, "from_pretrained", ask)  # which is asked first
    for revision in ("0123abc", "local"):
        edit_manifest(copy, base={"model": "owner/name", "revision": revision})
        with pytest.raises(CheckpointError, match="no network"):
            load_model(copy, silent)
    assert asked == [("owner/name", "0123abc"), ("owner/name", "main")]


def test_a_damaged_mini_base_says_how_to_rebuild_it(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(mini_base, "ensure_mini_base", lambda progress: tmp_path)
    with pytest.raises(CheckpointError, match=f"Remove {tmp_path} and start again"):
        load_model(mini_base.NAME, silent)


def test_export_touches_no_folder_of_other_things(exported, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    recipe = Recipe(name="tiny", base="owner/name", datasets={"a": 1}, steps=1)
    with pytest.raises(ValueError, match="other files"):
        export_checkpoint(tmp_path, exported.adapted, recipe, "local", {}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_export_that_fails_leaves_the_older_checkpoint(exported, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    recipe = Recipe(name="tiny", base="owner/name", datasets={"a": 1}, steps=1)
    export_checkpoint(folder, exported.adapted, recipe, "local", {}, {})
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*arguments, **options):
        raise OSError("No space left on device")

    monkeypatch.setattr("training.export.save_file", full)
    with pytest.raises(OSError, match="No space"):
        export_checkpoint(folder, exported.adapted, recipe, "local", {}, {"rows": 2})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    monkeypatch.undo()
    export_checkpoint(folder, exported.adapted, recipe, "local", {}, {"rows": 2})
    assert read_manifest(folder).training["rows"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_vision_weights_that_do_not_fit_are_named(copy):
    weights = load_file(copy / VISION)
    for changed, message in (
        ({"merger.ln_q.weight": torch.zeros(3)}, "does not fit"),
        ({"merger.unknown": torch.zeros(3)}, r"merger\.unknown"),
    ):
        save_file(weights | changed, copy / VISION)
        write_manifest(copy, read_manifest(copy))
        with pytest.raises(CheckpointError, match=message):
            load_model(copy, silent)


def test_a_mini_checkpoint_must_bring_the_whole_tower(copy, base, monkeypatch):
    monkeypatch.setattr(mini_base, "ensure_mini_base", lambda progress: base)
    edit_manifest(copy, base={"model": mini_base.NAME, "revision": mini_base.revision()})
    with pytest.raises(CheckpointError, match="Missing key"):
        load_model(copy, silent)


def test_a_manifest_round_trips(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"abc")
    manifest = Manifest(
        name="m", base=Base(model="b", revision="r"), augment_threshold=0.25, scores={"a": {"auto": 1}}
    )
    written = write_manifest(tmp_path, manifest)
    assert list(written.files) == ["weights.bin"]
    assert read_manifest(tmp_path) == written
    assert written.format_version == checkpoint.FORMAT_VERSION
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, "weights.bin"]
