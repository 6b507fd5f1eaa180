import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.tiny_data import text_rows, write_data
from training.annotation import (
    column_facts,
    link_rest,
    read_rows,
    text_column,
    training_datasets,
    training_files,
    with_column,
    write_table,
)
from training.mmeb import read_training_rows, write_rows


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_data(tmp_path_factory.mktemp("annotated"))
    (folder / "datasets.json").write_text("{}")
    return folder


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=5), st.integers(0, 9), st.text(max_size=5)), min_size=1, max_size=9)
)
def test_a_new_column_leaves_the_others_as_they_are(rows):
    table = pa.table({"qry": [row[0] for row in rows], "other": [row[1] for row in rows]})
    values = [row[2] for row in rows]
    first = with_column(table, "route", values, {"by": 1})
    assert first.drop_columns(["route"]).to_pydict() == table.to_pydict()
    assert text_column(first, "route") == values
    second = with_column(first, "route", values[::-1], {"by": 2})
    assert second.column_names == ["qry", "other", "route"]
    assert text_column(second, "route") == values[::-1]


def test_a_column_needs_a_value_for_every_row():
    with pytest.raises(ValueError, match="'route' has 1 values for 2 rows"):
        with_column(pa.table({"qry": ["a", "b"]}), "route", ["embed"], {})
    assert text_column(pa.table({"qry": ["a", None]}), "qry") == ["a", ""]
    assert text_column(pa.table({"qry": ["a", "b"]}), "augmentation") == ["", ""]


def test_files_say_how_a_column_was_made(tmp_path):
    table = with_column(pa.table({"qry": ["a"]}), "augmentation", ["b"], {"model": "ö"})
    table = with_column(table, "route", ["embed"], {"rule": "x"})
    write_table(tmp_path / "deep" / "a.parquet", table)
    assert column_facts(tmp_path / "deep" / "a.parquet", "augmentation") == {"model": "ö"}
    assert column_facts(tmp_path / "deep" / "a.parquet", "route") == {"rule": "x"}
    assert column_facts(tmp_path / "deep" / "a.parquet", "pos_key") == {}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.parquet"]


def test_a_failed_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    write_table(path, pa.table({"qry": ["old"]}))

    def fail(table, where, **options):
        where.write_bytes(b"half")
        raise OSError("no space")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="no space"):
        write_table(path, pa.table({"qry": ["new"]}))
    assert pq.read_table(path).to_pydict() == {"qry": ["old"]}
    assert [found.name for found in tmp_path.iterdir()] == ["a.parquet"]


def test_a_linked_folder_is_a_whole_data_folder(data, tmp_path):
    output = tmp_path / "deep" / "output"
    table = with_column(pq.read_table(data / "train" / "cities.parquet"), "route", ["embed"] * 8, {})
    write_table(output / "train" / "cities.parquet", table)
    link_rest(data, output, ["cities"])
    link_rest(data, output, ["cities"])  # again: nothing changes
    assert training_datasets(output) == ["cities", "colours"]
    assert not (output / "train" / "cities.parquet").is_symlink()
    assert read_training_rows(output / "train" / "colours.parquet")
    assert (output / "images" / "colours" / "red.png").read_bytes()
    assert (output / "datasets.json").read_text() == "{}"
    link_rest(data, data)
    assert not (data / "images").is_symlink()


def test_a_folder_made_of_a_linked_folder_reaches_the_first(data, tmp_path):
    link_rest(data, tmp_path / "first")
    link_rest(tmp_path / "first", tmp_path / "deep" / "second")
    assert (tmp_path / "deep" / "second" / "images" / "colours" / "red.png").read_bytes()
    assert training_datasets(tmp_path / "deep" / "second") == ["cities", "colours"]


def test_a_missing_dataset_is_named_with_those_that_there_are(data):
    with pytest.raises(ValueError, match=r"birds\.parquet is missing.*cities, colours"):
        training_files(data, "birds")


def test_bad_rows_are_named_and_the_others_keep_their_numbers(tmp_path):
    path = tmp_path / "a.parquet"
    write_rows(path, text_rows()[:3])
    table = with_column(pq.read_table(path), "qry", ["one", "", "three"], {})
    rows, problems = read_rows(table)
    assert {number: row.qry for number, row in rows.items()} == {0: "one", 2: "three"}
    assert list(problems) == [1]
    assert "needs a query" in problems[1]


def test_datasets_are_files_or_folders_of_shards(data, tmp_path):
    link_rest(data, tmp_path)
    folder = tmp_path / "train" / "OK-VQA"
    shards = [folder / f"original-0000{number}-of-00002.parquet" for number in range(2)]
    for shard in shards:
        write_rows(shard, text_rows()[:2])
    write_rows(folder / "diverse_instruction-00000-of-00001.parquet", text_rows()[:1])
    assert training_datasets(tmp_path) == ["OK-VQA", "cities", "colours"]
    assert training_files(tmp_path, "OK-VQA", "original") == shards
    assert training_files(tmp_path, "cities") == [tmp_path / "train" / "cities.parquet"]
    with pytest.raises(ValueError, match="choose one"):
        training_files(tmp_path, "OK-VQA")
    shards[0].unlink()
    with pytest.raises(ValueError, match="number 0 is missing"):
        training_files(tmp_path, "OK-VQA", "original")
    (folder / "rows.jsonl").write_text("{}")
    with pytest.raises(ValueError, match="convert it to Parquet"):
        training_files(tmp_path, "OK-VQA", "rows")
    link_rest(tmp_path, tmp_path / "second", ["cities"])
    assert training_datasets(tmp_path / "second") == ["OK-VQA", "colours"]
