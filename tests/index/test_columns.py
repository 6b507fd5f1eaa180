"""Columns of metadata: which memory they take, and values that are hard to tell apart."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import columns as columns_module
from index.columns import Columns
from index.filters import parse_filter
from index.log import DocumentLog
from index.store import FaissStore
from index.types import NewDocument
from index.validation import encode_metadata
from index.values import Values
from index.view import View
from index.view_loading import view_of_log
from tests.index.documents import document, vector_of

numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
near_the_limit = st.integers(2**53 - 2, 2**53 + 2) | st.sampled_from([2.0**53, 2.0**63, -(2.0**53)])
values = numbers | near_the_limit | st.booleans() | st.none() | st.text(max_size=3)
held = values | st.lists(values, max_size=3)
conditions = st.one_of(
    values,
    st.fixed_dictionaries({"in": st.lists(values, min_size=1, max_size=4)}),
    st.fixed_dictionaries({"exists": st.just(True)}),
    st.dictionaries(
        st.sampled_from(["gt", "gte", "lt", "lte"]), numbers | near_the_limit, min_size=1, max_size=2
    ),
    st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.text(max_size=2), min_size=1),
)


@settings(deadline=None)
@given(st.lists(held, max_size=20), conditions)
def test_a_table_decides_as_the_condition_does(documents: list[Any], condition: Any) -> None:
    leaf: Any = parse_filter({"key": condition})
    coded = Values("key")
    half = len(documents) // 2
    codes = [coded.code(value) for value in documents[:half]]
    coded.table(leaf)  # a table that is made early grows with the values
    codes += [coded.code(value) for value in documents[half:]]
    table = coded.table(leaf)
    assert [bool(table[code]) for code in codes] == [leaf.matches({"key": v}) for v in documents]
    assert not table[:2].any()  # unread and absent


def filled(folder: Path, count: int) -> tuple[DocumentLog, View]:
    DocumentLog.create(folder / "log", 8, "m")
    log = DocumentLog(folder / "log")
    documents = [
        NewDocument(str(n), vector_of(str(n)), None, None, {"a": n, "b": f"value {n}", "c": n % 2})
        for n in range(count)
    ]
    encoded = [encode_metadata(document.metadata) for document in documents]
    log.upsert(documents, encoded, np.stack([document.vector for document in documents]))
    return log, view_of_log(log)


def test_columns_that_take_too_much_memory_are_given_up_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, view = filled(tmp_path, 500)
    monkeypatch.setattr(columns_module, "_LEAST_BYTES", 100_000)
    columns = Columns(8)
    with log.snapshot() as now:
        for _ in range(2):
            for given_filter, expected in [
                ({"a": {"gte": 490}}, 10),
                ({"b": "value 7"}, 1),
                ({"c": 1}, 250),
                ({"$and": [{"a": {"lt": 100}}, {"c": 0}]}, 50),
            ]:
                passing = columns.passing(parse_filter(given_filter), view, now)
                assert np.count_nonzero(passing) == expected
                assert sum(column.bytes for column in columns._columns.values()) <= 100_000
        assert "c" in columns._columns  # the last that was asked for stays
        assert len(columns._columns) < 3
    log.close()


def test_a_second_filter_on_a_key_reads_nothing_from_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, view = filled(tmp_path, 100)
    columns = Columns(8)
    with log.snapshot() as now:
        assert np.count_nonzero(columns.passing(parse_filter({"c": 1}), view, now)) == 50
        monkeypatch.setattr(now, "metadata", lambda _: pytest.fail("the log was read"))
        assert np.count_nonzero(columns.passing(parse_filter({"c": {"ne": 1}}), view, now)) == 50
    log.close()


def test_values_of_documents_that_are_gone_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns_module, "_LEAST_VALUES", 10)
    columns, most = Columns(8), 0
    with closing(FaissStore(tmp_path)) as store:
        store.create("things", 8, "m")
        collection = store._collection("things")
        for version in range(12):
            numbers = [version * 100 + n for n in range(20)]
            store.upsert("things", [document(f"doc-{n}", version=v) for n, v in enumerate(numbers)])
            with collection._as_of_now() as (view, log):
                passing = columns.passing(parse_filter({"version": {"gte": numbers[15]}}), view, log)
            assert np.count_nonzero(passing) == 5
            most = max(most, columns._columns["version"]._values.count)
    assert most <= 2 * 20 + 10 + 20  # as many as are kept, and one write more
