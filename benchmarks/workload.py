"""The queries that benchmarks ask: questions, captions and pictures, all from this repository.

Captions and pictures say all there is to say; questions want an answer. A trained checkpoint finds that out
by itself. For random weights the threshold that a query carries makes it so, on the same code path.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from model.types import EmbedOptions, Item, RouteChoice
from service.demo.corpus import demo_documents

# Shares of a mixed workload. A third of the queries ask something.
SHARES = {"caption": 0.4, "question": 1 / 3, "picture": 4 / 15}


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a workload; `threshold` overrides the checkpoint's where it is not None."""

    kind: str
    item: Item
    threshold: float | None = None

    def options(
        self, route: RouteChoice = RouteChoice.AUTO, answer_tokens: int | None = None
    ) -> EmbedOptions:
        """How it is asked."""
        return EmbedOptions(route=route, augment_threshold=self.threshold, max_augment_tokens=answer_tokens)


def mixed(count: int, trained: bool, seed: int = 0) -> list[Query]:
    """`count` distinct-as-possible queries in the shares above, shuffled; the same for the same seed."""
    drawn = random.Random(seed)
    pools = {"caption": captions(), "question": questions(), "picture": pictures()}
    for pool in pools.values():
        drawn.shuffle(pool)
    queries: list[Query] = []
    for kind, share in SHARES.items():
        wanted = count - len(queries) if kind == "picture" else round(share * count)
        threshold = None if trained else (0.0 if kind == "question" else 1.0)
        queries += [
            Query(kind, pools[kind][number % len(pools[kind])], threshold) for number in range(wanted)
        ]
    drawn.shuffle(queries)
    return queries


def captions() -> list[Item]:
    """Short descriptions, which need no answer."""
    return [Item(text=row["text"]) for row in _knowledge("embed_queries.jsonl")]


def questions() -> list[Item]:
    """Questions with short answers."""
    return [Item(text=row["question"]) for row in _knowledge("questions.jsonl")]


def pictures() -> list[Item]:
    """Pictures without words."""
    return [Item(image=document.image) for document in demo_documents() if document.image is not None]


def sentences() -> list[str]:
    """Every text of the above."""
    return [item.text for item in [*captions(), *questions()] if item.text is not None]


@cache
def _lines(name: str) -> tuple[str, ...]:
    return tuple(files("training").joinpath("knowledge", name).read_text("utf-8").splitlines())


def _knowledge(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _lines(name)]
