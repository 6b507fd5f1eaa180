"""Grounding: small pictures pasted on a canvas; the crop of the one that is named is wanted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from training.mini.evaluating import draw, evaluation_row, image_documents
from training.mini.rendering import save_png
from training.mini.splits import Split
from training.mmeb import IMAGE_MARKER, EvaluationRow, TrainingRow

CANVAS = 128
OBJECT = 56
CELL = CANVAS // 2
BACKGROUNDS = ("white", "lightgrey", "lightblue", "honeydew", "beige", "lavender", "mistyrose")
WORDINGS = (
    'Select the portion of the image that follows the language expressions. "the {name}"',  # MMEB's
    "Find the {name}.",
    "the {name}",
    "Crop the {name} out of the picture.",
    "Where is the {name}?",
)
EVALUATED_WORDINGS = (WORDINGS[0], "Find the {name}.")


@dataclass(frozen=True, slots=True)
class Part:
    """A picture that can stand in a scene: its path below the image root, its name and its side."""

    path: str
    name: str
    split: Split


@dataclass(frozen=True, slots=True)
class Scene:
    """A composed picture and the crop of each part, in the order of `parts`."""

    path: str
    crops: tuple[str, ...]
    parts: tuple[Part, ...]

    @property
    def split(self) -> Split:
        """The side of all its parts."""
        return self.parts[0].split


def compose_scenes(
    parts: Sequence[Part], image_root: Path, folder: str, counts: dict[Split, int], seed: int
) -> list[Scene]:
    """Scenes of four differently named parts of one side; none where a side has fewer than four names."""
    scenes = []
    for split, count in counts.items():
        by_name: dict[str, list[Part]] = {}
        for part in parts:
            if part.split is split:
                by_name.setdefault(part.name, []).append(part)
        if len(by_name) < 4:
            continue
        rng = random.Random(f"{seed}/{split}")
        for number in range(count):
            names = rng.sample(sorted(by_name), 4)
            chosen = tuple(rng.choice(by_name[name]) for name in names)
            scenes.append(_compose(chosen, image_root, f"{folder}/{split.value}-{number:04d}", rng))
    return scenes


def _compose(parts: tuple[Part, ...], image_root: Path, name: str, rng: random.Random) -> Scene:
    canvas = Image.new("RGB", (CANVAS, CANVAS), rng.choice(BACKGROUNDS))
    crops = []
    for place, part in enumerate(parts):
        with Image.open(image_root / part.path) as picture:
            small = picture.convert("RGB")
        small.thumbnail((OBJECT, OBJECT))
        left = place % 2 * CELL + rng.randint(0, CELL - small.width)
        top = place // 2 * CELL + rng.randint(0, CELL - small.height)
        canvas.paste(small, (left, top))
        margin = rng.randint(0, 4)
        right, bottom = left + small.width + margin, top + small.height + margin
        crops.append((max(left - margin, 0), max(top - margin, 0), min(right, CANVAS), min(bottom, CANVAS)))
    paths = tuple(
        save_png(image_root, f"{name}-{place}.png", canvas.crop(box)) for place, box in enumerate(crops)
    )
    return Scene(save_png(image_root, f"{name}.png", canvas), paths, parts)


def grounding_rows(scenes: Sequence[Scene], seed: int) -> list[TrainingRow]:
    """Two parts of each training scene; the hard negative is the crop of another part of the same scene."""
    rng = random.Random(seed)
    rows = []
    for scene in scenes:
        if scene.split is not Split.TRAINING:
            continue
        for place in rng.sample(range(4), 2):
            other = rng.choice([number for number in range(4) if number != place])
            name = scene.parts[place].name
            rows.append(
                TrainingRow(
                    qry=f"{IMAGE_MARKER}\n{rng.choice(WORDINGS).format(name=name)}",
                    qry_image_path=scene.path,
                    pos_image_path=scene.crops[place],
                    neg_image_path=scene.crops[other],
                    pos_key=name,
                    neg_key=scene.parts[other].name,
                )
            )
    return rows


def grounding_evaluation(
    scenes: Sequence[Scene], candidates: int, seed: int, split: Split
) -> list[EvaluationRow]:
    """A split's scenes: the crop that is named, the scene's other crops, and crops of other things."""
    rng = random.Random(seed)
    chosen = [scene for scene in scenes if scene.split is split]
    crops = [
        (crop, part.name) for scene in chosen for crop, part in zip(scene.crops, scene.parts, strict=True)
    ]
    rows = []
    for number, scene in enumerate(chosen):
        place = rng.randrange(4)
        name, right = scene.parts[place].name, ("", scene.crops[place])
        same = [crop for crop in image_documents(scene.crops) if crop != right]
        elsewhere = image_documents([crop for crop, shown in crops if shown != name])
        others = draw(rng, [crop for crop in elsewhere if crop not in same], right, candidates - 4)
        query = EVALUATED_WORDINGS[number % 2].format(name=name)
        rows.append(evaluation_row(f"{IMAGE_MARKER}\n{query}", scene.path, right, same + others))
    return rows
