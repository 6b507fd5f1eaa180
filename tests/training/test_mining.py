import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.types import Embedding, InputType
from tests.training.tiny_data import write_data
from training.mining import MiningRule, corpus_of, mine_negatives
from training.mining_run import mine_datasets
from training.mmeb import TrainingRow, read_training_rows


def unit(values):
    values = np.asarray(values, np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


ROWS = [TrainingRow(f"q{n}", pos_text=f"d{n}", pos_key=f"k{n}") for n in range(6)]
CORPUS = corpus_of(ROWS)


def mined_from(similarities, rule, rows=ROWS):
    """Mine for the first row alone, whose similarity to each document is given."""
    values = np.asarray(similarities, np.float32)
    documents = np.stack([values, np.sqrt(1 - values**2)], axis=1)
    queries = np.tile(np.float32([1, 0]), (len(rows), 1))
    return mine_negatives(rows[:1], queries[:1], corpus_of(rows), documents, rule).rows[0]


def test_the_window_counts_from_the_best_that_is_not_the_positive():
    similarities = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    for rank in range(1, 6):
        row = mined_from(similarities, MiningRule(1, rank, rank))
        assert row.neg_text == f"d{rank}"
        assert row.neg_key == f"k{rank}"


def test_what_is_nearly_as_similar_as_the_positive_is_left_out():
    row = mined_from([0.9, 0.95, 0.87, 0.84, 0.3, 0.2], MiningRule(5, margin=0.95))
    assert [negative.text for negative in row.hard_negatives] == ["d3", "d4", "d5"]  # at most 0.855
    row = mined_from([-0.5, -0.51, -0.6, 0.3, 0.2, 0.1], MiningRule(5, margin=0.95))
    assert [negative.text for negative in row.hard_negatives] == ["d2"]


def test_a_document_with_the_positives_key_is_no_negative():
    rows = [*ROWS[:1], TrainingRow("x", pos_text="d1", pos_key="k0"), *ROWS[2:]]
    row = mined_from([0.9, 0.5, 0.4, 0.3, 0.2, 0.1], MiningRule(1, 1, 2), rows)
    assert row.neg_text == "d2"


def test_a_row_without_any_keeps_its_own():
    rows = [TrainingRow("q", pos_text="d", neg_text="own"), ROWS[1]]
    mined = mine_negatives(rows[:1], unit([[1, 0]]), corpus_of(rows), unit([[1, 1], [1, 0]]), MiningRule())
    assert mined.rows == rows[:1]
    assert mined.without == 1


@given(st.integers(0, 50), st.integers(1, 4), st.integers(1, 3), st.integers(0, 6))
def test_negatives_are_distinct_within_the_window_and_in_order(seed, count, first, more):
    draws = np.random.default_rng(seed)
    queries, documents = unit(draws.normal(size=(6, 4))), unit(draws.normal(size=(6, 4)))
    rule = MiningRule(count, first, first + more, margin=1.0, seed=seed)
    mined = mine_negatives(ROWS, queries, CORPUS, documents, rule)
    for number, row in enumerate(mined.rows):
        similarities = queries[number] @ documents.T
        order = [f"d{n}" for n in np.argsort(-similarities, kind="stable") if n != number]
        ranks = [order.index(negative.text) + 1 for negative in row.hard_negatives]
        assert ranks == sorted(set(ranks))
        assert len(ranks) <= count
        assert all(first <= rank <= first + more for rank in ranks)
    assert mined.without == sum(not row.hard_negatives for row in mined.rows)
    again = mine_negatives(ROWS, queries, CORPUS, documents, rule)
    assert again == mined


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"count": 0}, "count"), ({"first_rank": 5, "last_rank": 4}, "window"), ({"margin": 0}, "margin")],
)
def test_a_wrong_rule_says_what_is_wrong(fields, message):
    with pytest.raises(ValueError, match=message):
        MiningRule(**fields)


class HashingEngine:
    """Vectors that depend on an item's content; counts what it embeds."""

    def __init__(self, fail_after=None):
        self.embedded, self.fail_after = 0, fail_after
        self.info = type("Info", (), {"checkpoint_sha256": "abc"})()

    def embed(self, items, options):
        if self.fail_after is not None and self.embedded >= self.fail_after:
            raise OSError("the machine went away")
        self.embedded += len(items)
        if options.input_type is InputType.QUERY:
            assert options.route == "embed"
        return [self._embedding(item) for item in items]

    def _embedding(self, item):
        seed = int.from_bytes((item.text or "").encode() + (item.image or b"")[-40:], "big") % 2**32
        vector = unit(np.random.default_rng(seed).normal(size=8))
        return Embedding(vector, None, None, None, None, 1, 0, 0, 0.0, 0.0, 0.0)


def test_an_interrupted_run_embeds_nothing_twice_and_a_finished_one_nothing_at_all(tmp_path, monkeypatch):
    data, output = write_data(tmp_path / "data"), tmp_path / "mined"
    monkeypatch.setattr("training.mining_run.PART", 4)
    rule = MiningRule(2, margin=1.0)
    lines = []
    first = HashingEngine(fail_after=12)
    with pytest.raises(OSError, match="went away"):
        mine_datasets(first, data, ["cities", "colours"], output, rule, lines.append)
    second = HashingEngine()
    mine_datasets(second, data, ["cities", "colours"], output, rule, lines.append)
    assert first.embedded + second.embedded == 8 + 8 + 16 + 16
    rows = read_training_rows(output / "train" / "cities.parquet")
    assert [row.qry for row in rows] == [r.qry for r in read_training_rows(data / "train" / "cities.parquet")]
    assert max(len(row.hard_negatives) for row in rows) == 2
    third = HashingEngine()
    mine_datasets(third, data, ["cities", "colours"], output, rule, lines.append)
    assert third.embedded == 0
    assert lines[-2:] == ["cities: mined before", "colours: mined before"]
    mine_datasets(third, data, ["cities"], output, MiningRule(1), lines.append)  # another rule
    assert third.embedded == 0
    assert all(len(row.hard_negatives) <= 1 for row in read_training_rows(output / "train/cities.parquet"))


def test_the_rows_mined_from_are_never_overwritten(tmp_path):
    with pytest.raises(ValueError, match="another output folder"):
        mine_datasets(HashingEngine(), tmp_path, ["cities"], tmp_path, MiningRule())
