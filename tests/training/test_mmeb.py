import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.mmeb import (
    EvaluationRow,
    TrainingRow,
    read_evaluation_rows,
    read_training_rows,
    strip_image_marker,
    write_rows,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
SOME = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
ROWS = st.builds(TrainingRow, SOME, TEXT, SOME, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT)


@given(st.lists(ROWS, min_size=1, max_size=4))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_training_rows_round_trip(tmp_path, rows):
    write_rows(tmp_path / "rows.parquet", rows)
    assert read_training_rows(tmp_path / "rows.parquet") == rows
    assert not (tmp_path / "rows.partial").exists()


def test_evaluation_rows_round_trip(tmp_path):
    rows = [
        EvaluationRow("q", "", ["a", "b"], ["", ""], "answer"),
        EvaluationRow("", "x.png", ["", ""], ["y.png", "z.png"]),
    ]
    write_rows(tmp_path / "sub" / "rows.parquet", rows)
    assert read_evaluation_rows(tmp_path / "sub" / "rows.parquet") == rows


def write(path, row):
    pq.write_table(pa.Table.from_pylist([{"qry": "ok", "pos_text": "ok"} | row]), path)
    return path


def test_mmebs_own_columns_suffice(tmp_path):
    path = write(tmp_path / "a.parquet", {"qry": "q", "pos_text": "p", "neg_text": None, "other": 3})
    assert read_training_rows(path) == [TrainingRow("q", pos_text="p")]
    path = tmp_path / "b.parquet"
    pq.write_table(pa.Table.from_pylist([{"qry_text": "q", "tgt_text": "one"}]), path)
    assert read_evaluation_rows(path) == [EvaluationRow("q", "", ["one"], [""])]


@pytest.mark.parametrize("row", [{"qry": ""}, {"pos_text": ""}, {"qry": None}])
def test_a_row_without_query_or_positive_is_named(tmp_path, row):
    with pytest.raises(ValueError, match=r"a\.parquet row 0: a training row needs"):
        read_training_rows(write(tmp_path / "a.parquet", row))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"qry_text": "q", "tgt_text": []}, "needs a query and candidates"),
        ({"qry_text": "", "tgt_text": ["a"]}, "needs a query and candidates"),
        ({"qry_text": "q", "tgt_text": ["a", "b"], "tgt_img_path": ["x"]}, "differ in length"),
    ],
)
def test_a_wrong_evaluation_row_is_named(tmp_path, row, message):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    with pytest.raises(ValueError, match=f"row 0: .*{message}"):
        read_evaluation_rows(path)


def test_the_image_marker_goes():
    assert strip_image_marker("<|image_1|>\nWhat is it?") == "What is it?"
    assert strip_image_marker("no marker") == "no marker"
