"""Reading corpora: what each kind of file becomes, and that portions together are the whole."""

import csv
import io
import json
import os
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.client.outcomes import Failure
from service.corpus.entries import Entry
from service.corpus.portions import count, split
from service.corpus.reading import read_corpus, read_portion
from service.fingerprint import fingerprint
from tests.service.images import data_uri, encoded


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(tmp_path, *names, **options):
    return list(read_corpus([tmp_path.joinpath(name).relative_to(tmp_path) for name in names], **options))


def documents(found):
    assert [entry for entry in found if isinstance(entry, Failure)] == []
    return found


def test_csv_cells_and_other_columns(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded())
    (tmp_path / "rows.csv").write_text(
        "\ufeffid,text,image,metadata,year,price,code,open,note\n"
        '1,"two\nlines",,"{""kind"": ""x""}",2024,1.5,007,true,\n'
        ",,a.png,,,,12345678901234567890,false,-Infinity\n",
        "utf-8",
    )
    first, second = documents(read(tmp_path, "rows.csv"))
    assert (first.id, first.text, first.own_id) == ("1", "two\nlines", True)
    assert first.metadata == {"kind": "x", "year": 2024, "price": 1.5, "code": "007", "open": True}
    assert first.source == "rows.csv:2"
    assert (second.source, second.text, second.image) == ("rows.csv:4", None, encoded())
    assert second.metadata == {"code": "12345678901234567890", "open": False, "note": "-Infinity"}
    assert not second.own_id


def test_bad_csv_rows_are_named(tmp_path):
    (tmp_path / "rows.tsv").write_bytes(b"text\tn\nfine\t1\nshort\ntoo\tmany\tcells\nbad\xff\t2\n\t3\n")
    found = read(tmp_path, "rows.tsv")
    assert [entry.source for entry in found] == [f"rows.tsv:{line}" for line in range(2, 7)]
    assert isinstance(found[0], Entry)
    reasons = [entry.reason for entry in found[1:]]
    for reason, part in zip(reasons, ("1 cells", "3 cells", "surrogate", "neither"), strict=True):
        assert part in reason


def test_parquet_types_bytes_and_structs(tmp_path):
    rows = [
        {
            "id": 7,
            "text": None,
            "image": {"bytes": encoded(), "path": None},
            "metadata": {"kind": "x"},
            "day": date(2024, 2, 29),
            "at": datetime(2024, 1, 1, tzinfo=UTC),
            "price": Decimal("1.50"),
            "tags": ["a", "b"],
            "missing": float("nan"),
        }
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    [entry] = documents(read(tmp_path, "rows.parquet"))
    assert (entry.id, entry.text, entry.image) == ("7", None, encoded())
    assert entry.metadata == {
        "kind": "x",
        "day": "2024-02-29",
        "at": "2024-01-01T00:00:00+00:00",
        "price": 1.5,
        "tags": ["a", "b"],
    }


def test_a_parquet_cell_without_a_value_in_python_fails_alone(tmp_path):
    days = pa.array([19_000, 2**31 - 1, 19_001], pa.int32()).cast(pa.date32())
    table = pa.table({"id": ["a", "b", "c"], "text": ["one", "two", "three"], "day": days})
    pq.write_table(table, tmp_path / "rows.parquet")
    found = read(tmp_path, "rows.parquet")
    assert [getattr(entry, "id", None) for entry in found] == ["a", None, "c"]
    assert found[1].source == "rows.parquet:2"
    assert "cannot be read" in found[1].reason


def test_damaged_files_are_failures(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 no more of it")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "twice.csv").write_text("text,text\na,b\n")
    found = read(tmp_path, "rows.parquet", "empty.csv", "twice.csv")
    assert [entry.source for entry in found] == ["rows.parquet:0", "twice.csv:1"]
    assert count([tmp_path / "rows.parquet", tmp_path / "empty.csv"], tmp_path) == 0


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "x", "id": True}, "id:"),
        ({"text": "x", "id": "../up"}, "id:"),
        ({"text": 3}, "text:"),
        ({"image": 3}, "image:"),
        ({"image": "nowhere.png"}, "cannot be read"),
        ({"image": "data:image/png;base64,AAAA"}, "not a JPEG"),
        ({"image": "data:text/plain;base64,AAAA"}, "not an image"),
        ({"text": "x", "metadata": []}, "metadata:"),
        ({"text": "x", "metadata": "{"}, "not JSON"),
        ({"text": "x", "metadata": {"a": 1}, "a": 2}, "twice"),
        ({"text": "x", "nested": {"a": 1}}, "metadata.nested:"),
        ({"text": "x", "$and": 1}, "metadata.$and:"),
        ({}, "neither"),
    ],
)
def test_rows_that_are_no_documents_say_why(tmp_path, row, reason):
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    [failure] = read(tmp_path, "rows.jsonl")
    assert isinstance(failure, Failure)
    assert reason in failure.reason


def test_ids_follow_from_the_content_where_none_is_given(tmp_path):
    rows = [{"text": "a"}, {"text": "a", "n": 1}, {"text": "a"}, {"image": data_uri(encoded())}]
    rows.append({"image": "https://images.example.org/a.png"})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ids = [entry.id for entry in documents(read(tmp_path, "rows.jsonl"))]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 4
    assert ids == [entry.id for entry in read(tmp_path, "rows.jsonl")]
    far = documents(read(tmp_path, "rows.jsonl"))[-1]
    assert far.fingerprint is None  # its content is not known here
    assert far.body()["image"] == "https://images.example.org/a.png"


def test_mmeb_rows_give_positives_and_targets_once(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(encoded())
    training = {"qry": "q", "pos_text": "<|image_1|>\n a cat", "pos_image_path": "a.png", "neg_text": "no"}
    evaluation = {
        "qry_text": "q",
        "qry_img_path": "q.png",
        "tgt_text": ["", "a dog", "", ""],
        "tgt_img_path": ["a.png", "", "nowhere.png", ""],
    }
    pq.write_table(pa.Table.from_pylist([training, training]), tmp_path / "train.parquet")
    pq.write_table(pa.Table.from_pylist([evaluation]), tmp_path / "eval.parquet")
    found = read(tmp_path, "train.parquet", "eval.parquet", image_root=tmp_path / "images")
    good = [entry for entry in found if isinstance(entry, Entry)]
    assert [(entry.text, entry.image is not None) for entry in good] == [
        ("a cat", True),
        ("a cat", True),
        (None, True),
        ("a dog", False),
    ]
    assert good[0].id == good[1].id
    assert len([entry for entry in found if isinstance(entry, Failure)]) == 2
    assert count([tmp_path / "train.parquet"], tmp_path) == 2
    assert count([tmp_path / "eval.parquet"], tmp_path) is None  # a row has many targets


cells = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('\n",\r'), max_size=8)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(cells, cells), max_size=12),
    size=st.integers(1, 5),
    end=st.sampled_from(["", "\n"]),
)
def test_portions_of_csv_and_jsonl_are_the_whole(tmp_path_factory, rows, size, end):
    folder = tmp_path_factory.mktemp("corpus")
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([("text", "note"), *rows])
    (folder / "a.csv").write_text(buffer.getvalue().removesuffix("\n") + end, "utf-8", newline="")
    lines = "\n".join(json.dumps({"text": text, "note": note}) for text, note in rows)
    (folder / "b.jsonl").write_text(lines + end, "utf-8")
    for name in ("a.csv", "b.jsonl"):
        path = (folder / name).relative_to(folder)
        whole = list(read_corpus([path], folder))
        parts = list(split([path], folder, size))
        assert [entry for part in parts for entry in read_portion(part)] == whole
        assert sum(isinstance(entry, Entry) for entry in whole) <= len(rows)


def test_portions_of_parquet_and_folders_are_the_whole(tmp_path):
    table = pa.Table.from_pylist([{"text": str(n)} for n in range(25)])
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=4)
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for n in range(5):
        (tmp_path / "photos" / ("deep" if n % 2 else "") / f"{n}.png").write_bytes(encoded(colour=(n, 0, 0)))
    paths = [tmp_path / "rows.parquet", tmp_path / "photos"]
    parts = list(split(paths, tmp_path, 8))
    assert len(parts) == 4 + 1
    whole = documents(list(read_corpus(paths)))
    assert [entry for part in parts for entry in read_portion(part)] == whole
    assert len(whole) == count(paths, tmp_path) == 30


def test_what_cannot_be_opened_is_a_failure_here_and_on_a_cluster(tmp_path, monkeypatch):
    (tmp_path / "rows.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "rows.jsonl").chmod(0)
    monkeypatch.setattr("service.corpus.portions.os.access", lambda path, mode: False)  # root may read all
    paths = [tmp_path / "rows.jsonl", tmp_path / "gone.csv"]
    assert count(paths, tmp_path) is None
    assert [part.paths for part in split(paths, tmp_path, 1)] == [(str(path),) for path in paths]
    [failure] = read(tmp_path, "gone.csv")
    assert "No such file" in failure.reason


def test_names_that_are_not_utf8_are_refused(tmp_path):
    (tmp_path / os.fsdecode(b"broken\xff.png")).write_bytes(encoded())
    [failure] = read(tmp_path, ".")
    assert "UTF-8" in failure.reason


parts = st.none() | st.text(max_size=5)
metadata = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=3)


@given(parts, st.none() | st.binary(max_size=5), metadata, parts, st.none() | st.binary(max_size=5), metadata)
def test_fingerprints_are_equal_only_for_equal_content(
    text, image, data, other_text, other_image, other_data
):
    same = (text, image, data) == (other_text, other_image, other_data)
    assert (fingerprint(text, image, data) == fingerprint(other_text, other_image, other_data)) == same
    assert fingerprint(text, image, data) == fingerprint(text, image, dict(reversed(data.items())))
