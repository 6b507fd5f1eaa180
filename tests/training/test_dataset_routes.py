import pytest

from model.types import Route
from training.dataset_routes import dataset_routes
from training.mmeb import TrainingRow, write_rows


def write(path, *routes):
    write_rows(path, [TrainingRow("q", pos_text="p", route=route) for route in routes])


def test_only_a_route_that_all_rows_share_is_the_datasets(tmp_path):
    train = tmp_path / "train"
    write(train / "never.parquet", "embed", "embed")
    write(train / "mixed.parquet", "embed", "augment")
    write(train / "partly.parquet", "augment", "")
    write(train / "unlabelled.parquet", "", "")
    write(train / "shards" / "original-00000-of-00002.parquet", "augment")
    write(train / "shards" / "original-00001-of-00002.parquet", "augment")
    write(train / "uneven" / "original-00000-of-00002.parquet", "augment")
    write(train / "uneven" / "original-00001-of-00002.parquet", "embed")
    assert dataset_routes(tmp_path) == {"never": Route.EMBED, "shards": Route.AUGMENT}


def test_a_folder_without_training_data_labels_nothing(tmp_path):
    assert dataset_routes(tmp_path) == {}


def test_a_route_that_is_none_is_named(tmp_path):
    write(tmp_path / "train" / "odd.parquet", "sometimes")
    with pytest.raises(ValueError, match=r"odd\.parquet: the route 'sometimes' is none"):
        dataset_routes(tmp_path)
