"""Evaluations as if of trained checkpoints: outcomes drawn at random, with routes that help some datasets."""

import json
from pathlib import Path

import numpy as np

from model.types import EngineInfo, Route
from training.calibration import calibrate
from training.latency import LatencySettings, measure_latency
from training.latency_record import LatencyRecord
from training.mmeb import EvaluationRow, write_rows
from training.scores import Outcomes
from training.scoring import ADAPTIVE, ALWAYS_AUGMENT, NO_AUGMENTATION, Candidate, Evaluated

DATASETS = {  # name: (meta-task, domain, P@1 embedded, P@1 augmented, meant to be augmented)
    "photos": ("classification", "in", 0.7, 0.6, False),
    "clothing": ("classification", "in", 0.85, 0.8, False),
    "flags": ("vqa", "in", 0.3, 0.6, True),
    "general-knowledge": ("vqa", "out", 0.4, 0.75, True),
    "captions": ("retrieval", "in", 0.62, 0.55, False),
    "scenes": ("grounding", "out", 0.5, 0.48, False),
}


def info(threshold=0.5):
    return EngineInfo(
        model="made-up",
        base_model="none",
        base_revision="0",
        dimensions=8,
        max_prompt_tokens=64,
        max_augment_tokens=8,
        longest_augmentation=8,
        augment_threshold=threshold,
        pooling="eos",
        device="cpu",
        dtype="float32",
        decoding="torch",
        checkpoint_sha256="0" * 64,
    )


def outcomes(name, queries=60, seed=0):
    """One dataset's outcomes: the hits as likely as `DATASETS` says, P(/augment) mostly as labelled."""
    _, _, embedded, augmented, wanted = DATASETS[name]
    random = np.random.default_rng([seed, *name.encode()])
    # What is hard for one route is hard for the other: the margins share a part.
    hardness = random.uniform(-0.3, 0.3, queries)
    sure = random.beta(8, 1, queries)
    return Outcomes(
        dataset=name,
        candidates=np.full(queries, 100),
        wanted=np.full(queries, wanted),
        probability=sure if wanted else 1 - sure,
        margins={
            Route.EMBED: hardness + random.uniform(-0.2, 0.2, queries) + (embedded - 0.5) * 0.6,
            Route.AUGMENT: hardness + random.uniform(-0.2, 0.2, queries) + (augmented - 0.5) * 0.6,
        },
        tokens=random.integers(1, 9, queries),
    )


class Clockwork:
    """An engine without a model: a tenth of a second a query, four tenths where it is augmented."""

    def __init__(self, augment_every=2):
        self.now = 0.0
        self.augment_every = augment_every
        self.calls = []

    def clock(self):
        return self.now

    def embed(self, items, options):
        self.calls.append((options.route, len(items)))
        answers = []
        for item in items:
            number = int(item.text)
            augmented = options.route == "augment" or (
                options.route == "auto" and number % self.augment_every == 0
            )
            self.now += 0.4 if augmented else 0.1
            answers.append(_Answer(Route.AUGMENT if augmented else Route.EMBED))
        return answers


class _Answer:
    def __init__(self, route):
        self.route = route


def latency():
    from model.types import Item

    engine = Clockwork(augment_every=3)
    items = [Item(str(number)) for number in range(12)]
    measured = measure_latency(engine, items, 0.5, LatencySettings(12, 3), clock=engine.clock)
    return LatencyRecord(measured_at="2026-01-01T00:00:00+00:00", key={}, latency=measured)


def evaluated(label="adaptive", mode=ADAPTIVE, seed=0, names=tuple(DATASETS), timed=True):
    """A whole evaluation of a checkpoint that does not exist."""
    found = [outcomes(name, seed=seed) for name in names]
    routes = {NO_AUGMENTATION: [Route.EMBED], ALWAYS_AUGMENT: [Route.AUGMENT]}.get(mode, list(Route))
    kept = [
        Outcomes(
            o.dataset, o.candidates, o.wanted, o.probability, {r: o.margins[r] for r in routes}, o.tokens
        )
        for o in found
    ]
    adaptive = mode == ADAPTIVE
    return Evaluated(
        candidate=Candidate(Path(f"runs/{label}-{seed}"), label, mode, seed),
        info=info(),
        weights="0" * 64,
        threshold=0.5,
        outcomes=kept,
        calibration=calibrate([outcomes(name, 40, seed + 100) for name in names]) if adaptive else None,
        latency=latency() if adaptive and timed else None,
        computed=0,
    )


def write_folder(folder):
    """A data folder with the files that a report names: rows (of no consequence) and the catalogue."""
    for name in DATASETS:
        write_rows(folder / "eval" / f"{name}.parquet", [EvaluationRow(name, "", ["a", "b"], ["", ""])])
    facts = {
        name: {"meta_task": task, "domain": domain, "source": "made up"}
        for name, (task, domain, *_) in DATASETS.items()
    }
    (folder / "datasets.json").write_text(json.dumps(facts))
    return folder
