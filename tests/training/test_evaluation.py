"""P@1 and its neighbours against plain computations over the same engine."""

from math import fsum

import numpy as np
import pytest

from model.engine import Engine, EngineSettings
from model.types import EmbedOptions, InputType, Item, Route, RouteChoice
from tests.model.tiny import load_tiny
from training.evaluation import DocumentVectors, Selection, evaluate, measure, measure_subset, wanted_route
from training.mmeb import EvaluationRow, read_evaluation_rows, strip_image_marker
from training.scores import score_outcomes, summary

THRESHOLD = 0.6


@pytest.fixture(scope="module")
def engine():
    engine = Engine(load_tiny(threshold=THRESHOLD), EngineSettings(dtype="float32"))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def outcomes(engine, tiny_data):
    return {one.dataset: one for one in measure(engine, Selection().read(tiny_data), tiny_data / "images")}


def plain(engine, row, images, threshold, route):
    """One query as the paper has it, in plain Python: embed, compare with each candidate, take the best."""

    def item(text, path):
        return Item(strip_image_marker(text) or None, (images / path).read_bytes() if path else None)

    def vector(one, **options):
        return engine.embed([one], EmbedOptions(**options))[0]

    query = vector(item(row.qry_text, row.qry_img_path), route=route, augment_threshold=threshold)
    similarities = []
    for text, path in zip(row.tgt_text, row.tgt_img_path, strict=True):
        document = vector(item(text, path), input_type=InputType.DOCUMENT)
        similarities.append(
            fsum(float(a) * float(b) for a, b in zip(query.vector, document.vector, strict=True))
        )
    best = max(range(len(similarities)), key=similarities.__getitem__)
    return best == 0, query


@pytest.mark.parametrize("route", list(RouteChoice))
def test_scores_agree_with_a_plain_computation_to_the_last_digit(engine, tiny_data, outcomes, route):
    for name in ("cities", "colours"):
        rows = read_evaluation_rows(tiny_data / "eval" / f"{name}.parquet")
        found = [plain(engine, row, tiny_data / "images", THRESHOLD, route) for row in rows]
        score = score_outcomes(outcomes[name], route, THRESHOLD)
        assert score.precision_at_1 == sum(hit for hit, _ in found) / len(rows)
        assert score.embed_share == sum(query.route is Route.EMBED for _, query in found) / len(rows)
        assert score.augment_tokens == sum(query.augment_tokens for _, query in found) / len(rows)
        # A probability depends on the batch it is computed in, in its last bits.
        assert score.confidence == pytest.approx(sum(q.confidence for _, q in found) / len(rows), abs=1e-4)
        right = sum((query.route is Route.AUGMENT) == (name == "cities") for _, query in found) / len(rows)
        assert score.route_accuracy == (right if route is RouteChoice.AUTO else None)


def test_the_plain_computation_sees_hits_and_misses_and_both_routes(outcomes):
    """Else the test above would compare zeros."""
    hits = np.concatenate([one.hits(route) for one in outcomes.values() for route in Route])
    routed = np.concatenate([one.augmented(RouteChoice.AUTO, THRESHOLD) for one in outcomes.values()])
    assert 0 < hits.mean() < 1
    assert 0 < routed.mean() < 1


def test_evaluate_scores_every_subset_under_every_route_at_the_engines_threshold(engine, tiny_data, outcomes):
    scores = evaluate(engine, tiny_data)
    assert [(score.dataset, score.route) for score in scores] == [
        (name, route.value) for name in ("cities", "colours") for route in RouteChoice
    ]
    for score in scores:
        expected = score_outcomes(outcomes[score.dataset], RouteChoice(score.route), THRESHOLD)
        assert (score.precision_at_1, score.embed_share) == (expected.precision_at_1, expected.embed_share)


def one_row(engine, tmp_path, *candidates):
    row = EvaluationRow("cat", "", list(candidates), [""] * len(candidates))
    documents = DocumentVectors(engine, tmp_path)
    measured = measure_subset(engine, "one", [row], tmp_path, documents, [Route.EMBED])
    return score_outcomes(measured, RouteChoice.EMBED, 0.5).precision_at_1, documents


def test_a_candidate_as_close_as_the_right_one_is_no_hit(engine, tmp_path):
    precision, documents = one_row(engine, tmp_path, "cat", *["dog"] * 7, "cat")
    assert precision == 0
    assert len(documents.rows) == 2


def test_a_single_candidate_is_a_hit(engine, tmp_path):
    assert one_row(engine, tmp_path, "cat")[0] == 1


def test_candidates_keep_their_vectors_whatever_comes_later(engine, tmp_path):
    documents = DocumentVectors(engine, tmp_path)
    first = documents.matrix([("cat", ""), ("dog", "")])
    documents.add([("dog", ""), ("owl", "")])
    again = documents.matrix([("owl", ""), ("dog", ""), ("cat", "")])
    assert (again[[2, 1]] == first).all()
    assert len(documents.rows) == 3


def test_the_limit_bounds_queries_not_candidates(engine, tiny_data):
    scores = evaluate(engine, tiny_data, [RouteChoice.EMBED], limit=3)
    assert [(score.queries, score.candidates) for score in scores] == [(3, 8), (3, 8)]


def test_a_selection_names_what_is_not_there(tiny_data):
    assert list(Selection(("colours",)).read(tiny_data)) == ["colours"]
    with pytest.raises(ValueError, match="no dataset 'rivers'; it has cities, colours"):
        Selection(("rivers",)).read(tiny_data)


def test_the_summary_is_by_dataset_and_route_and_rounded(engine, tiny_data):
    table = summary(evaluate(engine, tiny_data, [RouteChoice.AUTO, RouteChoice.EMBED], limit=3))
    assert set(table) == {"cities", "colours"}
    assert table["cities"]["auto"]["queries"] == 3
    assert "route_accuracy" not in table["cities"]["embed"]
    assert all(value == round(value, 4) for value in table["cities"]["auto"].values())


def test_an_empty_subset_is_named(engine, tmp_path):
    with pytest.raises(ValueError, match="'nothing' has no queries"):
        measure_subset(engine, "nothing", [], tmp_path, DocumentVectors(engine, tmp_path))


def test_a_folder_without_subsets_is_named(engine, tmp_path):
    with pytest.raises(ValueError, match="holds no evaluation subsets"):
        evaluate(engine, tmp_path)


def test_the_wanted_route_is_the_rows_answer():
    assert wanted_route(EvaluationRow("q", augmentation="Rome")) is Route.AUGMENT
    assert wanted_route(EvaluationRow("q")) is Route.EMBED
