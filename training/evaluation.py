"""Embeds MMEB-format subsets through the engine that serves them, and says which queries find their target.

Queries are embedded with both routes forced. The engine's prefill is the same whichever route is taken, so
adaptive routing at any threshold picks, query by query, one of these two vectors: no other pass is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.types import Embedder, Embedding, EmbedOptions, InputType, Item, Route, RouteChoice
from training.mmeb import EvaluationRow, read_evaluation_rows, strip_image_marker
from training.remembered import Embeds
from training.scores import Outcomes, Score, score_outcomes

CHUNK = 64

Subsets = dict[str, list[EvaluationRow]]  # by dataset


class DocumentVectors:
    """Embeds each distinct candidate once, however many queries name it."""

    def __init__(self, engine: Embeds, image_root: Path) -> None:
        self.engine, self.image_root = engine, image_root
        self.rows: dict[tuple[str, str], int] = {}
        self._table = np.zeros((0, 0), np.float64)

    def add(self, contents: Iterable[tuple[str, str]]) -> None:
        """Embed the (text, image path) candidates that have no vector yet."""
        missing = [content for content in dict.fromkeys(contents) if content not in self.rows]
        options = EmbedOptions(input_type=InputType.DOCUMENT, truncate=True)
        added = []
        for start in range(0, len(missing), CHUNK):
            items = [as_item(*content, self.image_root) for content in missing[start : start + CHUNK]]
            added += [embedding.vector for embedding in self.engine.embed(items, options)]
        if added:
            block = np.stack(added).astype(np.float64)
            self._table = np.concatenate([self._table, block]) if self.rows else block
            self.rows.update({content: len(self.rows) + n for n, content in enumerate(missing)})

    def matrix(self, contents: Sequence[tuple[str, str]]) -> npt.NDArray[np.float64]:
        """[N, D] vectors of (text, image path) candidates."""
        self.add(contents)
        return self._table[[self.rows[content] for content in contents]]


def as_item(text: str, image_path: str, image_root: Path) -> Item:
    """A row's side as the engine takes it."""
    image = (image_root / image_path).read_bytes() if image_path else None
    return Item(strip_image_marker(text) or None, image)


def embed_queries(
    engine: Embeds, rows: Sequence[EvaluationRow], image_root: Path, route: RouteChoice
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


def measure_subset(
    engine: Embeds,
    dataset: str,
    rows: Sequence[EvaluationRow],
    image_root: Path,
    documents: DocumentVectors,
    routes: Sequence[Route] = tuple(Route),
    label: Route | None = None,
) -> Outcomes:
    """Embed one subset under the given forced routes and compare every query with its candidates.

    `label` is the route that all its queries are meant to take; None: those with an answer are meant to be
    augmented. Raises ValueError for a subset without queries.
    """
    if not rows:
        raise ValueError(f"The evaluation subset '{dataset}' has no queries; build it again or remove it.")
    documents.add(candidates(rows))
    probability = np.zeros(len(rows))
    margins, tokens = {}, np.zeros(len(rows), np.int64)
    for route in routes:
        queries = embed_queries(engine, rows, image_root, RouteChoice(route.value))
        margins[route] = np.array(
            [_margin(query, row, documents) for query, row in zip(queries, rows, strict=True)]
        )
        chosen = np.array([query.confidence for query in queries], np.float64)
        probability = chosen if route is Route.AUGMENT else 1 - chosen
        if route is Route.AUGMENT:
            tokens = np.array([query.augment_tokens for query in queries])
    return Outcomes(
        dataset=dataset,
        candidates=np.array([len(row.tgt_text) for row in rows]),
        wanted=np.array([(label or wanted_route(row)) is Route.AUGMENT for row in rows]),
        probability=probability,
        margins=margins,
        tokens=tokens,
    )


def wanted_route(row: EvaluationRow) -> Route:
    """The route that a row was built for: `/augment` where it has an answer to write."""
    return Route.AUGMENT if row.augmentation else Route.EMBED


def candidates(rows: Sequence[EvaluationRow]) -> Iterable[tuple[str, str]]:
    """Every candidate of every row as (text, image path), with repetitions."""
    return (content for row in rows for content in zip(row.tgt_text, row.tgt_img_path, strict=True))


def _margin(query: Embedding, row: EvaluationRow, documents: DocumentVectors) -> float:
    """The right candidate's similarity minus the best other one's, in double precision."""
    similarities = documents.matrix(list(candidates([row]))) @ query.vector.astype(np.float64)
    return float(similarities[0] - similarities[1:].max(initial=-2.0))


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of a data folder is evaluated: dataset names (empty: all) and at most `limit` queries of each."""

    datasets: tuple[str, ...] = ()
    limit: int | None = None

    def read(self, data: Path, split: str = "eval") -> Subsets:
        """The rows of each subset of a split. Raises ValueError for a dataset that is not there."""
        files = {path.stem: path for path in subset_files(data, split)}
        for name in self.datasets:
            if name not in files:
                known = ", ".join(files)
                raise ValueError(f"{data / split} has no dataset '{name}'; it has {known}.")
        return {name: read_evaluation_rows(files[name])[: self.limit] for name in self.datasets or files}


def measure(
    engine: Embeds,
    subsets: Subsets,
    image_root: Path,
    routes: Sequence[Route] = tuple(Route),
    labels: Mapping[str, Route] | None = None,
) -> list[Outcomes]:
    """The outcomes of every subset; candidates that several subsets share are embedded once.

    `labels` are the routes of whole datasets, see `training.dataset_routes`.
    """
    meant = labels or {}
    documents = DocumentVectors(engine, image_root)
    return [
        measure_subset(engine, name, rows, image_root, documents, routes, meant.get(name))
        for name, rows in subsets.items()
    ]


def evaluate(
    engine: Embedder,
    data: Path,
    routes: Sequence[RouteChoice] = tuple(RouteChoice),
    limit: int | None = None,
    report: Callable[[Score], None] = lambda score: None,
) -> list[Score]:
    """Score every subset below `data/eval` under each route choice, at the engine's own threshold."""
    forced = [Route(route.value) for route in routes if route is not RouteChoice.AUTO]
    needed = tuple(Route) if RouteChoice.AUTO in routes else tuple(forced)
    documents = DocumentVectors(engine, data / "images")
    scores = []
    for name, rows in Selection(limit=limit).read(data).items():
        outcomes = measure_subset(engine, name, rows, data / "images", documents, needed)
        for route in routes:
            scores.append(score_outcomes(outcomes, route, engine.info.augment_threshold))
            report(scores[-1])
    return scores
