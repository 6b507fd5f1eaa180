import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.types import RouteChoice
from tests.training.fake_embedder import FakeEmbedder, hashed
from tests.training.tiny_data import ANSWERS, text_rows
from training.margins import MarginMeter, candidate_sets, forced, standing
from training.mmeb import HardNegative, TrainingRow

NAMES = st.sampled_from("abcdefgh")
ROWS = st.lists(st.tuples(NAMES, NAMES, st.booleans()), min_size=1, max_size=20)


def made(rows):
    return [
        TrainingRow(
            f"q{n}", pos_text=pos, pos_key=pos if keyed else "", neg_text=neg, neg_key=neg if keyed else ""
        )
        for n, (pos, neg, keyed) in enumerate(rows)
        if pos != neg
    ]


@settings(deadline=None)
@given(ROWS, st.integers(2, 9), st.integers(0, 3))
def test_candidates_are_distinct_and_lead_with_the_positive_and_the_hard_negative(drawn, size, seed):
    rows = made(drawn)
    sets = candidate_sets(rows, size, seed)
    assert sets == candidate_sets(rows, size, seed)
    for row, found in zip(rows, sets, strict=True):
        assert found[:2] == [(row.pos_text, ""), (row.neg_text, "")]
        assert len(found) == len(set(found)) <= size
    documents = {content for row in rows for content in ((row.pos_text, ""), (row.neg_text, ""))}
    assert all(len(found) == min(size, len(documents)) for found in sets)


def test_a_document_with_the_positives_key_is_no_candidate():
    rows = [
        TrainingRow("which city?", pos_text="Rome", pos_key="rome"),
        TrainingRow("capital of Italy?", pos_text="It is Rome.", pos_key="rome"),
        TrainingRow("capital of Norway?", pos_text="Oslo", pos_key="oslo"),
    ]
    assert candidate_sets(rows, 10)[0] == [("Rome", ""), ("Oslo", "")]
    assert set(candidate_sets(rows, 10)[2]) == {("Oslo", ""), ("Rome", ""), ("It is Rome.", "")}


def test_several_hard_negatives_come_in_their_order_and_the_pool_gives_the_rest():
    more = (HardNegative("lima"), HardNegative("cairo"))
    row = TrainingRow("q", pos_text="rome", neg_text="oslo", more_negatives=more)
    assert candidate_sets([row], 3)[0] == [("rome", ""), ("oslo", ""), ("lima", "")]
    assert len(candidate_sets([row], 99, pool=text_rows())[0]) == len(ANSWERS)


def test_a_positive_alone_is_an_error_that_names_the_row():
    with pytest.raises(ValueError, match=r"Row 0 \('lonely'\) has no candidate"):
        candidate_sets([TrainingRow("lonely", pos_text="x")], 5)


@settings(deadline=None)
@given(st.integers(2, 8), st.integers(0, 1000))
def test_margin_and_rank_agree_with_sorting(count, seed):
    documents = np.stack([hashed(seed, number) for number in range(count)]).astype(np.float64)
    query = hashed(seed, "query")
    found = standing(query, documents)
    similarities = [float(np.dot(document, query.astype(np.float64))) for document in documents]
    order = sorted(range(count), key=lambda number: -similarities[number])
    assert found.rank == order.index(0) + 1
    assert found.margin == pytest.approx(similarities[0] - max(similarities[1:]))
    assert (found.rank == 1) == (found.margin > 0)


def test_a_tie_is_not_won():
    same = np.stack([hashed("a"), hashed("a"), hashed("b")]).astype(np.float64)
    assert standing(hashed("a"), same).rank == 2


def test_the_meter_takes_the_forced_route_and_embeds_documents_once(tmp_path):
    rows = text_rows()
    engine = FakeEmbedder({("augment", rows[0].qry): hashed("document", "rome", "x")})
    engine.vectors["document", "rome"] = engine.vectors["augment", rows[0].qry]
    meter, sets = MarginMeter(engine, tmp_path), candidate_sets(rows, 5)
    augmented = meter.measure(meter.items(rows), sets, forced(RouteChoice.AUGMENT))
    plain = meter.measure(meter.items(rows), sets, forced(RouteChoice.EMBED))
    assert augmented[0][0].rank == 1
    assert augmented[0][1].augmentation == f"about {rows[0].qry}"
    assert plain[0][1].augmentation is None
    assert augmented[0][0].margin > plain[0][0].margin
    documents = [text for side, text in engine.seen if side == "document"]
    assert sorted(documents) == sorted(ANSWERS)
