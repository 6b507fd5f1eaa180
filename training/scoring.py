"""Scores a checkpoint through the serving engine and, when asked, writes threshold and scores into it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from model.checkpoint import load_model
from model.engine import Engine, EngineSettings
from model.types import Embedder, RouteChoice
from training.calibration import best_threshold
from training.evaluation import Score, embed_queries, evaluate, subset_files, summary
from training.export import update_manifest
from training.mmeb import read_evaluation_rows

CALIBRATION_QUERIES = 150  # of each subset


def score_checkpoint(
    checkpoint: Path, data: Path, limit: int | None, save: bool, report: Callable[[str], None]
) -> list[Score]:
    """Score every held-out subset under each route choice; see `training.evaluation`."""
    if save:
        with closing(Engine(load_model(checkpoint, report), EngineSettings())) as engine:
            threshold = calibrate(engine, data)
        update_manifest(checkpoint, augment_threshold=threshold)
        report(f"Calibrated threshold on P(/augment): {threshold:.4f}")
    with closing(Engine(load_model(checkpoint, report), EngineSettings())) as engine:
        scores = evaluate(
            engine,
            data,
            limit=limit,
            report=lambda score: report(f"{score.dataset} {score.route}: P@1 {score.precision_at_1}"),
        )
    if save:
        update_manifest(checkpoint, scores=summary(scores))
    return scores


def calibrate(engine: Embedder, data: Path) -> float:
    """The threshold that routes most queries of the calibration split as their subsets were built.

    That split is neither trained on nor scored. Raises ValueError where it is missing.
    """
    probabilities, wanted = [], []
    for path in subset_files(data, "calibration"):
        rows = read_evaluation_rows(path)[:CALIBRATION_QUERIES]
        # A forced route still reports the model's confidence in it: here 1 - P(/augment).
        queries = embed_queries(engine, rows, data / "images", RouteChoice.EMBED)
        probabilities += [1 - float(query.confidence or 0) for query in queries]
        wanted += [bool(row.augmentation) for row in rows]
    return best_threshold(probabilities, wanted)
