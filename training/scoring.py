"""Scores a checkpoint folder through the serving engine and, when asked, writes scores and threshold into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from model.checkpoint import load_model
from model.engine import Engine, EngineSettings
from model.types import Embedder, RouteChoice
from training.calibration import best_threshold
from training.evaluation import DocumentVectors, Score, evaluate, evaluate_subset, summary
from training.export import update_manifest
from training.mmeb import read_evaluation_rows

CALIBRATION_QUERIES = 150  # of each subset


def score_checkpoint(
    checkpoint: Path, data: Path, limit: int | None, save: bool, report: Callable[[str], None]
) -> list[Score]:
    """Score every held-out subset under each route choice; see `training.evaluation`."""
    if save:
        engine = Engine(load_model(checkpoint), EngineSettings())
        threshold = calibrate(engine, data)
        engine.close()
        update_manifest(checkpoint, augment_threshold=round(threshold, 4))
        report(f"Calibrated threshold on P(/augment): {threshold:.4f}")
    engine = Engine(load_model(checkpoint), EngineSettings())
    scores = evaluate(
        engine, data, limit=limit, report=lambda s: report(f"{s.dataset} {s.route}: P@1 {s.precision_at_1}")
    )
    engine.close()
    if save:
        update_manifest(checkpoint, scores=summary(scores))
    return scores


def calibrate(engine: Embedder, data: Path) -> float:
    """The threshold that routes most held-out queries as their subsets were built."""
    probabilities, wanted = [], []
    documents = DocumentVectors(engine, data / "images")
    for path in sorted((data / "eval").glob("*.parquet")):
        rows = read_evaluation_rows(path)[:CALIBRATION_QUERIES]
        # A forced route still reports the model's confidence in it: here 1 - P(/augment).
        rows = [row for row in rows if row.tgt_text]
        _, queries = evaluate_subset(engine, path.stem, rows, data / "images", RouteChoice.EMBED, documents)
        probabilities += [1 - float(query.confidence or 0) for query in queries]
        wanted += [bool(row.augmentation) for row in rows]
    return best_threshold(probabilities, wanted)
