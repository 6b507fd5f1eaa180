import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from model.checkpoint import load_base
from tests.training.vision.tiny_tower import made_up_views
from training.mmeb import TrainingRow, write_rows
from training.vision import pretrain


@pytest.fixture
def data(tmp_path):
    """A photo or two a dataset."""
    for number, dataset in enumerate(pretrain.VIEWS):
        path = f"{dataset}/0.png"
        (tmp_path / "images" / dataset).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / path)
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
    assert named["emoji_i2i/0.png"] == ("emoji_i2i", "cat")
    assert named["emoji_i2i/1.png"] == ("emoji_i2i", "dog")  # a negative's name is not told by its row


def test_a_missing_dataset_is_named(data):
    (data / "train" / "cifar10.parquet").unlink()
    with pytest.raises(ValueError, match=r"cifar10\.parquet is missing"):
        pretrain.named_images(data)


def test_it_writes_a_trained_tower(data, tmp_path, tiny_base, monkeypatch):
    made = {}

    def views(paths, views_per_photo, cache):
        made.update(zip((f"{path.parent.name}/{path.name}" for path in paths), views_per_photo, strict=True))
        return made_up_views(len(paths), 16)

    monkeypatch.setattr(pretrain, "compute_views", views)
    monkeypatch.setattr(pretrain, "load_base", lambda name, report: load_base(str(tiny_base), report))
    output = tmp_path / "out" / "tower.safetensors"
    pretrain.pretrain_tower(data, output, tmp_path / "run", 2, lambda line: None)
    assert made["caltech101/0.png"] == 8
    assert made["emoji_i2i/1.png"] == 2
    before = load_base(str(tiny_base), lambda line: None)[0].model.visual.state_dict()
    written = load_file(output)
    assert written.keys() == before.keys()
    assert any(not torch.allclose(written[name].float(), before[name], atol=1e-2) for name in written)
    assert all(tensor.isfinite().all() for tensor in written.values())
