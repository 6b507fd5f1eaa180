"""P@1 and its neighbours against a plain computation over the same engine."""

import pytest
import torch

from model.engine import Engine, EngineSettings
from model.types import EmbedOptions, InputType, Item, Route, RouteChoice
from tests.model.tiny import load_tiny
from tests.training.tiny_data import ANSWERS, COLOURS
from training.evaluation import DocumentVectors, evaluate, evaluate_subset, summary
from training.mmeb import EvaluationRow, read_evaluation_rows
from training.scoring import calibrate


@pytest.fixture(scope="module")
def engine():
    engine = Engine(load_tiny(), EngineSettings(dtype="float32"))
    yield engine
    engine.close()


def embed(engine, item, **options):
    return engine.embed([item], EmbedOptions(**options))[0]


def test_precision_at_1_equals_a_plain_computation(engine, tiny_data):
    images = tiny_data / "images"
    scores = {(score.dataset, score.route): score for score in evaluate(engine, tiny_data)}
    assert len(scores) == 6
    for route in RouteChoice:
        queries = [
            embed(engine, Item(f"Which city has number {n}?"), route=route) for n in range(len(ANSWERS))
        ]
        candidates = [embed(engine, Item(answer), input_type=InputType.DOCUMENT) for answer in ANSWERS]
        hits = [
            max(range(len(ANSWERS)), key=lambda n, query=query: float(query.vector @ candidates[n].vector))
            == own
            for own, query in enumerate(queries)
        ]
        score = scores["cities", route.value]
        assert score.precision_at_1 == pytest.approx(sum(hits) / len(hits), abs=1e-4)
        confidence = sum(query.confidence for query in queries) / len(queries)
        assert score.confidence == pytest.approx(confidence, abs=1e-3)
        share = sum(query.route is Route.EMBED for query in queries) / len(queries)
        assert score.embed_share == pytest.approx(share, abs=1e-4)
        if route is RouteChoice.AUTO:
            assert score.route_accuracy == pytest.approx(1 - share, abs=1e-4)  # all are meant to be augmented
        else:
            assert score.route_accuracy is None
    pictures = [(images / "colours" / f"{colour}.png").read_bytes() for colour in COLOURS]
    vectors = torch.stack(
        [
            torch.from_numpy(embed(engine, Item(image=p), input_type=InputType.DOCUMENT).vector)
            for p in pictures
        ]
    )
    asked = torch.stack(
        [torch.from_numpy(embed(engine, Item(c), route=RouteChoice.EMBED).vector) for c in COLOURS]
    )
    hits = (asked @ vectors.T).argmax(1) == torch.arange(len(COLOURS))
    assert scores["colours", "embed"].precision_at_1 == pytest.approx(hits.float().mean().item(), abs=1e-4)


def test_a_candidate_as_close_as_the_right_one_is_no_hit(engine, tmp_path):
    rows = [EvaluationRow("cat", "", ["cat", "cat", "dog"], [""] * 3)]
    documents = DocumentVectors(engine, tmp_path)
    score = evaluate_subset(engine, "twins", rows, tmp_path, RouteChoice.EMBED, documents)
    assert score.precision_at_1 == 0
    assert len(documents.vectors) == 2


def test_a_single_candidate_is_a_hit(engine, tmp_path):
    rows = [EvaluationRow("cat", "", ["cat"], [""])]
    score = evaluate_subset(
        engine, "one", rows, tmp_path, RouteChoice.EMBED, DocumentVectors(engine, tmp_path)
    )
    assert score.precision_at_1 == 1


def test_the_limit_bounds_queries_not_candidates(engine, tiny_data):
    scores = evaluate(engine, tiny_data, [RouteChoice.EMBED], limit=3)
    assert [(score.queries, score.candidates) for score in scores] == [(3, 8), (3, 8)]


def test_the_summary_is_by_dataset_and_route(engine, tiny_data):
    scores = evaluate(engine, tiny_data, [RouteChoice.AUTO, RouteChoice.EMBED], limit=2)
    table = summary(scores)
    assert set(table) == {"cities", "colours"}
    assert table["cities"]["auto"]["queries"] == 2
    assert "route_accuracy" not in table["cities"]["embed"]


def test_an_empty_subset_is_named(engine, tmp_path):
    with pytest.raises(ValueError, match="'nothing' has no queries"):
        evaluate_subset(engine, "nothing", [], tmp_path, RouteChoice.AUTO, DocumentVectors(engine, tmp_path))


def test_a_folder_without_subsets_is_named(engine, tmp_path):
    for call in (lambda: evaluate(engine, tmp_path), lambda: calibrate(engine, tmp_path)):
        with pytest.raises(ValueError, match="holds no evaluation subsets"):
            call()


def test_calibration_routes_no_worse_than_the_default(engine, tiny_data):
    threshold = calibrate(engine, tiny_data)
    right = {}
    for candidate in (threshold, 0.5):
        options = EmbedOptions(augment_threshold=candidate)
        right[candidate] = 0
        for name, expected in (("cities", Route.AUGMENT), ("colours", Route.EMBED)):
            rows = read_evaluation_rows(tiny_data / "eval" / f"{name}.parquet")
            for embedding in engine.embed([Item(row.qry_text) for row in rows], options):
                right[candidate] += embedding.route is expected
    assert right[threshold] >= max(right[0.5], 8)
