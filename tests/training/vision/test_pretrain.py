import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from model.checkpoint import load_base
from model.conv_tower import ConvTower
from training.mmeb import TrainingRow, write_rows
from training.vision import pretrain
from training.vision.backbone import load_network
from training.vision.naming import NamingRecipe
from training.vision.tower_file import load_tower


@pytest.fixture
def data(tmp_path):
    """A photo or two a dataset."""
    for number, dataset in enumerate(pretrain.NAMED):
        (tmp_path / "images" / dataset).mkdir(parents=True)
        for picture in range(2):
            colour = (60 * number, 255 * picture, 0)
            Image.new("RGB", (8, 8), colour).save(tmp_path / "images" / dataset / f"{picture}.png")
        path = f"{dataset}/0.png"
        rows = [
            TrainingRow(
                "what", path, pos_text="a cat", neg_text="a dog", pos_key="cat", neg_key=f"n{number}"
            ),
            TrainingRow(
                "dog", pos_image_path=f"{dataset}/1.png", neg_image_path=path, pos_key="dog", neg_key="cat"
            ),
        ]
        write_rows(tmp_path / "train" / f"{dataset}.parquet", rows)
    return tmp_path


def test_images_are_named_by_the_rows_that_want_them(data):
    named = pretrain.named_images(data)
    assert len(named) == 8
    assert named["emoji_i2i/0.png"] == "cat"
    assert named["emoji_i2i/1.png"] == "dog"  # a negative's name is not told by its row


def test_a_missing_dataset_is_named(data):
    (data / "train" / "cifar10.parquet").unlink()
    with pytest.raises(ValueError, match=r"cifar10\.parquet is missing"):
        pretrain.named_images(data)


def test_it_writes_the_network_with_a_trained_merger(data, tmp_path, tiny_base, monkeypatch):
    def base_with_eyes(name, report):
        model, tokenizer = load_base(str(tiny_base), report)
        model.model.visual = ConvTower(model.config.text_config.hidden_size)
        return model, tokenizer

    monkeypatch.setattr(pretrain, "load_base", base_with_eyes)
    monkeypatch.setattr(pretrain, "NamingRecipe", lambda: NamingRecipe(batch_size=4, warmup_steps=1))
    output = tmp_path / "out" / "tower.safetensors"
    pretrain.pretrain_tower(data, output, 3, lambda line: None)
    written = load_file(output)
    width = base_with_eyes("", lambda line: None)[0].config.text_config.hidden_size
    untrained, loaded = ConvTower(width), ConvTower(width)
    assert written.keys() == untrained.state_dict().keys()
    assert all(tensor.isfinite().all() for tensor in written.values())
    load_tower(loaded, output)
    scale = load_network()._conv_head.weight.shape
    assert loaded.head.weight.shape == scale
    assert not torch.allclose(loaded.merger.mlp[-1].weight, untrained.merger.mlp[-1].weight, atol=1e-3)
    assert any((data / pretrain.FEATURES).iterdir())  # kept for the next run


def test_a_file_of_another_shape_is_refused(tmp_path):
    path = tmp_path / "tower.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"tower\.safetensors"):
        load_tower(ConvTower(8), path)
