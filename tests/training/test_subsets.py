"""MMEB's subsets as they lie on disk and at an address: streamed, and every skipped row named."""

import json

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from training.mmeb import IMAGE_MARKER, EvaluationRow, TrainingRow
from training.subsets import Account, ImageRoot, evaluation_rows, subset_files, training_rows

QUERY = f"{IMAGE_MARKER}\nRepresent the given image with the following question: What is it?"
ROW = {
    "qry": QUERY,
    "qry_image_path": "images/OK-VQA/Train/1.jpg",
    "pos_text": "a cat",
    "pos_image_path": "",
    "neg_text": "a dog",
    "neg_image_path": "",
}
EVALUATION = {
    "qry_text": QUERY,
    "qry_img_path": "OK-VQA/1.jpg",
    "tgt_text": ["a cat", "a dog"],
    "tgt_img_path": ["", ""],
}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture
def hub_folder(tmp_path):
    """A subset as MMEB-train has it: two splits, one of them in two shards."""
    folder = tmp_path / "MMEB-train" / "OK-VQA"
    write(folder / "original-00000-of-00002.parquet", [ROW])
    write(folder / "original-00001-of-00002.parquet", [ROW | {"pos_text": "a bird"}])
    write(folder / "diverse_instruction-00000-of-00001.parquet", [ROW | {"qry": f"{IMAGE_MARKER} What?"}])
    return folder


def test_a_split_is_read_shard_by_shard(hub_folder):
    account = Account()
    rows = list(training_rows(hub_folder, account, split="original"))
    assert [row.pos_text for row in rows] == ["a cat", "a bird"]
    assert rows[0] == TrainingRow(QUERY, ROW["qry_image_path"], "a cat", neg_text="a dog")
    assert list(account.good.values()) == [1, 1]
    assert account.summary() == "2 rows read, 0 bad ones skipped, in 2 files"
    diverse = list(training_rows(hub_folder, Account(), split="diverse_instruction"))
    assert [row.qry for row in diverse] == [f"{IMAGE_MARKER} What?"]


def test_several_splits_ask_for_a_choice(hub_folder):
    with pytest.raises(ValueError, match="splits diverse_instruction, original; choose one"):
        list(training_rows(hub_folder, Account()))
    with pytest.raises(ValueError, match=r"no \.parquet or \.jsonl files of the split 'test'"):
        list(training_rows(hub_folder, Account(), split="test"))


def test_a_missing_shard_is_named(hub_folder):
    (hub_folder / "original-00001-of-00002.parquet").unlink()
    with pytest.raises(ValueError, match="number 1 is missing"):
        list(training_rows(hub_folder, Account(), split="original"))


def test_an_address_is_read_without_a_copy(hub_folder):
    memory = fsspec.filesystem("memory")
    for path in hub_folder.iterdir():
        memory.pipe_file(f"/hub/OK-VQA/{path.name}", path.read_bytes())
    rows = list(training_rows("memory://hub/OK-VQA", Account(), split="original"))
    assert rows == list(training_rows(hub_folder, Account(), split="original"))


def test_image_candidates_share_one_text(tmp_path):
    path = write(
        tmp_path / "test-00000-of-00001.parquet",
        [{"qry_text": "a red bus", "qry_img_path": "", "tgt_text": "", "tgt_img_path": ["a.jpg", "b.jpg"]}],
    )
    [row] = evaluation_rows(path, Account())
    assert row == EvaluationRow("a red bus", "", ["", ""], ["a.jpg", "b.jpg"])


BAD = [
    ({"qry": "", "qry_image_path": ""}, "needs a query"),
    ({"pos_text": None}, "needs a query and a positive"),
    ({"qry_image_path": ""}, "image marker"),
    ({"route": "perhaps"}, "route is 'perhaps'"),
    ({"neg_text": ["a", "b"], "neg_image_path": ["a"]}, "differ in length"),
]


@pytest.mark.parametrize(("change", "reason"), BAD)
def test_a_bad_row_is_counted_named_and_skipped(tmp_path, change, reason):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in (ROW, ROW | change, ROW)))
    account = Account()
    assert len(list(training_rows(path, account))) == 2
    [bad] = account.bad
    assert (bad.file, bad.row) == (str(path), 1)
    assert reason in bad.reason
    assert str(bad) == f"{path} row 1: {bad.reason}"
    assert account.summary() == "2 rows read, 1 bad ones skipped, in 1 files"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tgt_text": ["a cat"]}, "differ in length"),
        ({"tgt_text": [], "tgt_img_path": []}, "needs a query and candidates"),
        ({"tgt_text": ["", "a dog"]}, "the first candidate"),
        ({"tgt_text": [IMAGE_MARKER, "a dog"]}, "candidate 0 has the image marker"),
        ({"tgt_text": [3, 4]}, "must be a list of texts"),
        ({"qry_text": 5}, "qry_text holds int"),
    ],
)
def test_a_bad_evaluation_row_is_named(tmp_path, change, reason):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(EVALUATION | change) + "\n" + json.dumps(EVALUATION))
    account = Account()
    assert len(list(evaluation_rows(path, account))) == 1
    assert reason in account.bad[0].reason


def test_a_line_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"qry": "q", "pos_text": "p"}\n{"qry": \n\xff\n[1]\n')
    account = Account()
    assert [row.qry for row in training_rows(path, account)] == ["q"]
    assert [bad.row for bad in account.bad] == [1, 2, 3]
    assert "not a JSON object" in account.bad[2].reason


def test_images_are_looked_for_below_the_root(tmp_path):
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(root / "images" / "here.jpg")
    (tmp_path / "outside.jpg").touch()
    names = ["images/here.jpg", "images/gone.jpg", "../outside.jpg", "/etc/hostname"]
    path = write(tmp_path / "rows.parquet", [ROW | {"qry_image_path": name} for name in names])
    account = Account()
    rows = list(training_rows(path, account, ImageRoot(root)))
    assert [row.qry_image_path for row in rows] == names[:1]
    assert [bad.row for bad in account.bad] == [1, 2, 3]
    assert "gone.jpg is not in" in account.bad[0].reason
    assert all("out of the image root" in bad.reason for bad in account.bad[1:])


def test_images_of_candidates_and_negatives_count_too(tmp_path):
    path = write(
        tmp_path / "a.parquet", [ROW | {"qry": "q", "qry_image_path": "", "neg_image_path": "no.jpg"}]
    )
    account = Account()
    assert not list(training_rows(path, account, ImageRoot(tmp_path)))
    assert "no.jpg" in account.bad[0].reason
    path = write(
        tmp_path / "b.parquet",
        [EVALUATION | {"qry_text": "q", "qry_img_path": "", "tgt_img_path": ["", "no.jpg"]}],
    )
    assert not list(evaluation_rows(path, account, ImageRoot(tmp_path)))
    assert len(account.bad) == 2


def test_other_columns_and_broken_files_are_named(tmp_path):
    path = write(tmp_path / "wrong.parquet", [{"query": "q"}])
    with pytest.raises(ValueError, match=r"wrong\.parquet lacks MMEB's columns"):
        list(training_rows(path, Account()))
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(write(tmp_path / "whole.parquet", [ROW]).read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"broken\.parquet cannot be read to its end"):
        list(training_rows(broken, Account()))
    with pytest.raises(ValueError, match=r"no \.parquet or \.jsonl files"):
        subset_files(tmp_path / "nothing")


def test_rows_come_before_the_file_is_read_whole(tmp_path):
    path = write(tmp_path / "rows.parquet", [ROW | {"pos_text": str(n)} for n in range(2000)])
    account = Account()
    stream = training_rows(path, account)
    assert next(stream).pos_text == "0"
    assert account.good.total() == 1
    assert [row.pos_text for row in stream] == [str(n) for n in range(1, 2000)]


@given(st.lists(st.tuples(st.booleans(), st.text(max_size=5)), max_size=12))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_row_is_either_read_or_named(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"qry": text, "pos_text": "p" if good else ""}) for good, text in rows]
    path.write_text("\n".join(lines))
    account = Account()
    read = [row.qry for row in training_rows(path, account)]
    assert read == [text for good, text in rows if good and text]
    assert [bad.row for bad in account.bad] == [
        n for n, (good, text) in enumerate(rows) if not (good and text)
    ]
