"""Evaluates a checkpoint through the serving engine and, when asked, writes threshold and scores into it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.checkpoint import MANIFEST, load_model, read_manifest
from model.engine import Engine, EngineSettings
from model.types import EngineInfo, Item, Route, RouteChoice
from training.calibration import PRICE, Calibration, Rule, calibrate
from training.dataset_routes import dataset_routes
from training.evaluation import Selection, Subsets, as_item, candidates, measure
from training.export import update_manifest
from training.latency import Latency, LatencySettings, measure_latency, spread
from training.latency_record import LatencyRecord, recorded_latency
from training.provenance import machine_facts
from training.remembered import RememberedEmbeddings, embedding_identity, weights_identity
from training.scores import Outcomes, Score, score_outcomes, summary

CALIBRATION_QUERIES = 150  # of each subset
EMBEDDINGS = "embeddings.sqlite"
ADAPTIVE, NO_AUGMENTATION, ALWAYS_AUGMENT = "adaptive", "no-augmentation", "always-augment"
_CHOICES = {NO_AUGMENTATION: (RouteChoice.EMBED,), ALWAYS_AUGMENT: (RouteChoice.AUGMENT,)}

Begin = Callable[[str, int], Callable[[int], None]]  # (what, how many) to a function that counts them


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What is evaluated and how; `latency` None leaves the timing out, `save` changes the checkpoint."""

    selection: Selection = field(default_factory=Selection)
    save: bool = False
    rule: Rule = Rule.ROUTES
    price: float = PRICE
    latency: LatencySettings | None = None
    device: str | None = None
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.save and self.selection.datasets:
            raise ValueError("A manifest holds the scores of every dataset: save without choosing datasets.")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint to evaluate. Those with the same label are seeds of one thing.

    `mode` is its recipe's: an adaptive checkpoint is measured under every route choice, the pilot study's
    two baselines under the one that they were trained for.
    """

    folder: Path
    label: str
    mode: str = ADAPTIVE
    seed: int | None = None

    @property
    def choices(self) -> tuple[RouteChoice, ...]:
        """The route choices that the checkpoint is measured under, its own first."""
        return _CHOICES.get(self.mode, tuple(RouteChoice))

    @property
    def routes(self) -> tuple[Route, ...]:
        """The forced routes that those choices need."""
        return tuple(Route(choice.value) for choice in self.choices if choice is not RouteChoice.AUTO)


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """One checkpoint's evaluation: all that a report is made from.

    `weights` is the hash of what it computes with; `computed` counts the embeddings that no earlier run had
    left behind.
    """

    candidate: Candidate
    info: EngineInfo
    weights: str
    threshold: float
    outcomes: list[Outcomes]
    calibration: Calibration | None
    latency: LatencyRecord | None
    computed: int

    def scores(self) -> list[Score]:
        """Every dataset's score under every route choice."""
        return [
            score_outcomes(outcomes, choice, self.threshold)
            for outcomes in self.outcomes
            for choice in self.candidate.choices
        ]


def candidate(folder: Path, label: str | None = None) -> Candidate:
    """A checkpoint with the mode and seed of the recipe that its manifest keeps; label: the model's name."""
    if not (folder / MANIFEST).is_file():
        return Candidate(folder, label or folder.name)
    manifest = read_manifest(folder)
    recipe = manifest.training.get("recipe") or {}
    return Candidate(folder, label or manifest.name, recipe.get("mode", ADAPTIVE), recipe.get("seed"))


def _items_sha256(items: Sequence[Item]) -> str:
    digest = hashlib.sha256()
    for item in items:
        for part in ((item.text or "").encode(), item.image or b""):
            digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()


class Evaluation:
    """One checkpoint on one data folder; `run` does all of it.

    With `output`, embeddings and latencies are kept there by content: a rerun goes on from them.
    `begin` opens a progress bar, `report` hears single lines.
    """

    def __init__(
        self,
        subject: Candidate,
        data: Path,
        settings: EvaluationSettings,
        output: Path | None = None,
        begin: Begin = lambda description, total: lambda count: None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._subject, self._data, self._settings, self._output = subject, data, settings, output
        self._begin, self._report = begin, report
        self._subsets = settings.selection.read(data)
        self._labels = dataset_routes(data)

    def run(self) -> Evaluated:
        """Measure; with `settings.save` then write threshold and scores into the checkpoint's manifest.

        Raises ValueError for data that do not fit and CheckpointError for a broken checkpoint.
        """
        settings, folder = self._settings, self._subject.folder
        # Without a vision cache every query pays for its own picture, as a new one does in service.
        how = EngineSettings(vision_cache_items=0, device=settings.device, dtype=settings.dtype)
        with closing(Engine(load_model(folder, self._report), how)) as engine:
            cache = self._output / EMBEDDINGS if self._output else None
            remembered = RememberedEmbeddings(engine, embedding_identity(folder, engine.info), cache)
            with closing(remembered):
                outcomes = self._measure(remembered, "eval", self._subsets)
                calibration = self._calibrate(remembered)
            threshold = engine.info.augment_threshold
            if settings.save and calibration:
                threshold = calibration.threshold
            evaluated = Evaluated(
                candidate=self._subject,
                info=engine.info,
                weights=weights_identity(folder, engine.info),
                threshold=threshold,
                outcomes=outcomes,
                calibration=calibration,
                latency=self._time(engine, threshold),
                computed=remembered.computed,
            )
        if settings.save:
            self._save(evaluated)
        return evaluated

    def _measure(self, embedder: RememberedEmbeddings, split: str, subsets: Subsets) -> list[Outcomes]:
        routes = self._subject.routes
        queries = sum(len(rows) for rows in subsets.values())
        documents = len({content for rows in subsets.values() for content in candidates(rows)})
        description = f"{self._subject.label}: {split}"
        embedder.on_embedded = self._begin(description, queries * len(routes) + documents)
        return measure(embedder, subsets, self._data / "images", routes, self._labels)

    def _calibrate(self, embedder: RememberedEmbeddings) -> Calibration | None:
        """Both thresholds, from a split that is neither trained on nor scored; a baseline has none."""
        if self._subject.mode != ADAPTIVE:
            return None
        settings = self._settings
        if not settings.save and not (self._data / "calibration").is_dir():
            self._report("There is no calibration split: the curve shows the checkpoint's threshold alone.")
            return None
        limit = min(settings.selection.limit or CALIBRATION_QUERIES, CALIBRATION_QUERIES)
        subsets = Selection(limit=limit).read(self._data, "calibration")
        outcomes = self._measure(embedder, "calibration", subsets)
        try:
            return calibrate(outcomes, settings.rule, settings.price)
        except ValueError as error:
            if settings.save:
                raise
            self._report(f"No threshold was calibrated: {error}")
            return None

    def _time(self, engine: Engine, threshold: float) -> LatencyRecord | None:
        settings = self._settings.latency
        if settings is None or self._subject.mode != ADAPTIVE:
            return None
        images = self._data / "images"
        queries = [
            [as_item(row.qry_text, row.qry_img_path, images) for row in rows[: settings.queries]]
            for rows in self._subsets.values()
        ]
        items = spread(queries, settings.queries)
        key: dict[str, Any] = {
            "embeddings": embedding_identity(self._subject.folder, engine.info),
            "queries": _items_sha256(items),
            "threshold": threshold,
            "settings": asdict(settings),
            "machine": machine_facts(engine.info.device),
        }

        def measured() -> list[Latency]:
            total = len(items) * settings.repetitions * len(RouteChoice) * 2
            advance = self._begin(f"{self._subject.label}: latency", total)
            return measure_latency(engine, items, threshold, settings, advance)

        return recorded_latency(self._output, key, datetime.now(UTC).isoformat(timespec="seconds"), measured)

    def _save(self, evaluated: Evaluated) -> None:
        folder = self._subject.folder
        changes: dict[str, Any] = {"scores": summary(evaluated.scores())}
        if calibration := evaluated.calibration:
            changes["augment_threshold"] = calibration.threshold
            changes["training"] = {
                **read_manifest(folder).training,
                "calibration": {**asdict(calibration), "rule": calibration.rule.value},
            }
            self._report(f"Calibrated threshold on P(/augment): {calibration.threshold:.4f}")
        update_manifest(folder, **changes)
