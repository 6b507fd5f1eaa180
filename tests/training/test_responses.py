import pytest

from tests.training.tiny_data import tiny_recipe
from training.mmeb import TrainingRow, write_rows
from training.responses import rows_with_responses
from training.training_data import read_training_data

ROWS = [
    TrainingRow("a", pos_text="p", augmentation="x"),
    TrainingRow("b", pos_text="p"),
    TrainingRow("c", pos_text="p", augmentation="y", route="embed"),
    TrainingRow("d", pos_text="p", augmentation="z", route="augment"),
]


def learned(**changes):
    lines = []
    rows = rows_with_responses("set", ROWS, tiny_recipe("base", **changes), lines.append)
    return {row.qry: row.augmentation for row in rows}, lines


def test_adaptive_heeds_the_route_column():
    assert learned() == ({"a": "x", "b": "", "c": "", "d": "z"}, [])


def test_adaptive_by_the_augmentation_alone():
    assert learned(labels="augmentation")[0] == {"a": "x", "b": "", "c": "y", "d": "z"}


def test_no_augmentation_answers_nothing():
    assert learned(mode="no-augmentation")[0] == dict.fromkeys("abcd", "")


def test_always_augment_leaves_out_and_reports_what_has_no_answer():
    rows, lines = learned(mode="always-augment")
    assert rows == {"a": "x", "c": "y", "d": "z"}
    assert lines == ["set: 1 of 4 rows have no augmentation; left out."]


def test_always_augment_needs_augmentations():
    recipe = tiny_recipe("base", mode="always-augment")
    with pytest.raises(ValueError, match=r"'set' has no augmentations.*solomon synthesize"):
        rows_with_responses("set", [ROWS[1]], recipe)


def test_a_route_without_its_answer_is_named():
    row = TrainingRow("why?", pos_text="p", route="augment")
    with pytest.raises(ValueError, match=r"'set': the query 'why\?' has route 'augment'"):
        rows_with_responses("set", [row], tiny_recipe("base"))


def test_rows_of_a_dataset_are_limited_the_same_way_every_time(tmp_path):
    rows = [TrainingRow(str(number), pos_text="p") for number in range(50)]
    write_rows(tmp_path / "train" / "many.parquet", rows)
    recipe = tiny_recipe("base", datasets=["many"], rows_per_dataset=8)
    first, second = (read_training_data(tmp_path, recipe)["many"] for _ in range(2))
    assert first == second
    assert len(first) == 8
    assert [int(row.qry) for row in first] == sorted(int(row.qry) for row in first)
    other = read_training_data(tmp_path, recipe.model_copy(update={"seed": 1}))["many"]
    assert other != first


def test_a_folder_of_shards_is_a_dataset_whose_bad_rows_are_named(tmp_path):
    folder = tmp_path / "train" / "CIRR"
    for shard, rows in enumerate(([TrainingRow("a", pos_text="p")], [TrainingRow("b", pos_text="")])):
        write_rows(folder / f"original-0000{shard}-of-00002.parquet", rows)
    write_rows(folder / "diverse_instruction-00000-of-00001.parquet", [TrainingRow("c", pos_text="p")])
    lines = []
    recipe = tiny_recipe("base", datasets=["CIRR"], split="original")
    assert [row.qry for row in read_training_data(tmp_path, recipe, lines.append)["CIRR"]] == ["a"]
    assert "1 bad ones skipped" in lines[0]
    assert "original-00001-of-00002.parquet row 0" in lines[1]
