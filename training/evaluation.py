"""Scores a checkpoint on MMEB-format subsets through the engine that serves it.

Precision@1 over each query's candidates, mean confidence in the chosen route (CF), the share routed to
`/embed`, and the same with the route forced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from model.types import Embedder, Embedding, EmbedOptions, InputType, Item, Route, RouteChoice, Vector
from training.mmeb import EvaluationRow, read_evaluation_rows, strip_image_marker

CHUNK = 64


@dataclass(frozen=True, slots=True)
class Score:
    """One subset under one route choice.

    `route_accuracy` compares the chosen routes with the ones that the subset was built for (None where
    the route was forced).
    """

    dataset: str
    route: str
    queries: int
    candidates: int
    precision_at_1: float
    confidence: float
    embed_share: float
    route_accuracy: float | None
    augment_tokens: float


class DocumentVectors:
    """Embeds each distinct candidate once, however many queries name it."""

    def __init__(self, engine: Embedder, image_root: Path) -> None:
        self.engine, self.image_root = engine, image_root
        self.vectors: dict[tuple[str, str], Vector] = {}

    def matrix(self, contents: Sequence[tuple[str, str]]) -> np.ndarray:
        """[N, D] vectors of (text, image path) candidates."""
        missing = [content for content in dict.fromkeys(contents) if content not in self.vectors]
        options = EmbedOptions(input_type=InputType.DOCUMENT, truncate=True)
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            items = [as_item(text, image, self.image_root) for text, image in chunk]
            embedded = self.engine.embed(items, options)
            self.vectors.update({content: e.vector for content, e in zip(chunk, embedded, strict=True)})
        return np.stack([self.vectors[content] for content in contents])


def as_item(text: str, image_path: str, image_root: Path) -> Item:
    """A row's side as the engine takes it."""
    image = (image_root / image_path).read_bytes() if image_path else None
    return Item(strip_image_marker(text) or None, image)


def embed_queries(
    engine: Embedder, rows: Sequence[EvaluationRow], image_root: Path, route: RouteChoice
) -> list[Embedding]:
    """The rows' queries under one route choice, in order."""
    options = EmbedOptions(route=route, truncate=True)
    embedded: list[Embedding] = []
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        items = [as_item(row.qry_text, row.qry_img_path, image_root) for row in chunk]
        embedded += engine.embed(items, options)
    return embedded


def subset_files(data: Path, split: str = "eval") -> list[Path]:
    """The subsets below `data/eval` or `data/calibration`, by name. Raises ValueError if none."""
    files = sorted((data / split).glob("*.parquet"))
    if not files:
        raise ValueError(f"{data / split} holds no evaluation subsets: build the data first.")
    return files


def evaluate_subset(
    engine: Embedder,
    dataset: str,
    rows: Sequence[EvaluationRow],
    image_root: Path,
    route: RouteChoice,
    documents: DocumentVectors,
) -> Score:
    """Score one subset under one route choice. Raises ValueError for a subset without queries."""
    if not rows:
        raise ValueError(f"The evaluation subset '{dataset}' has no queries; build it again or remove it.")
    queries = embed_queries(engine, rows, image_root, route)
    hits = []
    for row, query in zip(rows, queries, strict=True):
        candidates = documents.matrix(list(zip(row.tgt_text, row.tgt_img_path, strict=True)))
        similarities = candidates @ query.vector
        hits.append(bool(similarities[0] > similarities[1:].max(initial=-2.0)))
    expected = [Route.AUGMENT if row.augmentation else Route.EMBED for row in rows]
    right = [query.route == route_ for query, route_ in zip(queries, expected, strict=True)]
    return Score(
        dataset=dataset,
        route=route.value,
        queries=len(rows),
        candidates=len(rows[0].tgt_text),
        precision_at_1=round(float(np.mean(hits)), 4),
        confidence=round(float(np.mean([query.confidence for query in queries])), 4),
        embed_share=round(float(np.mean([query.route == Route.EMBED for query in queries])), 4),
        route_accuracy=round(float(np.mean(right)), 4) if route is RouteChoice.AUTO else None,
        augment_tokens=round(float(np.mean([query.augment_tokens for query in queries])), 2),
    )


def evaluate(
    engine: Embedder,
    data: Path,
    routes: Sequence[RouteChoice] = tuple(RouteChoice),
    limit: int | None = None,
    report: Callable[[Score], None] = lambda score: None,
) -> list[Score]:
    """Score every subset below `data/eval` under each route choice. `limit` bounds the queries of each."""
    documents = DocumentVectors(engine, data / "images")
    scores = []
    for path in subset_files(data):
        rows = read_evaluation_rows(path)[:limit]
        for route in routes:
            score = evaluate_subset(engine, path.stem, rows, data / "images", route, documents)
            scores.append(score)
            report(score)
    return scores


def summary(scores: Sequence[Score]) -> dict[str, dict[str, object]]:
    """Scores as a manifest stores them: by dataset, then by route choice."""
    table: dict[str, dict[str, object]] = {}
    for score in scores:
        figures = {
            key: value
            for key, value in asdict(score).items()
            if key not in ("dataset", "route") and value is not None
        }
        table.setdefault(score.dataset, {})[score.route] = figures
    return table
