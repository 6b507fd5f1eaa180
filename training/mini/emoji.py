"""Emoji pictures in two drawing styles, from the npm packages emoji-datasource-google and -twitter."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from training.mini.splits import Split, split_of
from training.mmeb import IMAGE_MARKER, EvaluationRow, TrainingRow

CATEGORIES = (
    "Animals & Nature",
    "Food & Drink",
    "Objects",
    "Travel & Places",
    "Activities",
    "Smileys & Emotion",
    "Flags",
)
STYLES = ("google", "twitter")
SIMILAR = (
    "Find an image of the same thing.",
    "Find a picture that shows the same object.",
    "Find similar images.",
    "",
)
NAME = (
    "What does this emoji show?",
    "Name the thing in the image.",
    "What is in this picture?",
    "Identify the object shown in the image.",
    "",
)
FIND = (
    "{name}",
    "{name}",
    "{name}",
    "Find an emoji: {name}",
    "a picture of a {name}",
    "Find an image that shows: {name}",
    "{name} emoji",
)


@dataclass(frozen=True, slots=True)
class Emoji:
    """One emoji: its plain name, category and a picture in each style, below the image root."""

    name: str
    category: str
    paths: tuple[str, ...]
    split: Split


def read_emoji(packages: Path, image_root: Path) -> list[Emoji]:
    """Write the emoji of the two unpacked packages (`<packages>/<style>/package`) below the image root.

    Pictures are put on white: a transparent background means nothing to the vision tower.
    """
    entries = json.loads((packages / "google" / "package" / "emoji.json").read_text())
    emoji = []
    for entry in entries:
        if entry["category"] not in CATEGORIES or not all(entry[f"has_img_{style}"] for style in STYLES):
            continue
        name = entry["name"].lower().replace(" face", "") if entry["category"] != "Flags" else entry["name"]
        paths = tuple(_write_on_white(packages, style, entry["image"], image_root) for style in STYLES)
        emoji.append(Emoji(name, entry["category"], paths, split_of(entry["unified"])))
    return emoji


def _write_on_white(packages: Path, style: str, file_name: str, image_root: Path) -> str:
    target = image_root / f"emoji-{style}" / file_name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source = packages / style / "package" / "img" / style / "64" / file_name
        picture = Image.open(BytesIO(source.read_bytes())).convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        Image.alpha_composite(white, picture).convert("RGB").save(target)
    return f"emoji-{style}/{file_name}"


def emoji_rows(emoji: list[Emoji], seed: int) -> dict[str, list[TrainingRow]]:
    """Three datasets by name: name to picture, picture to name, picture to the same in the other style.

    They are kept apart because in-batch negatives teach little when their kind alone gives them away.
    """
    rng = random.Random(seed)
    training = [one for one in emoji if one.split is Split.TRAINING]
    rows: dict[str, list[TrainingRow]] = {"emoji_t2i": [], "emoji_i2t": [], "emoji_i2i": []}
    for one in training:
        style = rng.randrange(len(STYLES))
        other = rng.choice([candidate for candidate in training if candidate is not one])
        keys = {"pos_key": one.name, "neg_key": other.name}
        picture, same, negative = one.paths[style], one.paths[1 - style], other.paths[style]
        rows["emoji_t2i"].append(
            TrainingRow(
                qry=rng.choice(FIND).format(name=one.name),
                pos_image_path=picture,
                neg_image_path=negative,
                **keys,
            )
        )
        rows["emoji_i2t"].append(
            TrainingRow(
                qry=f"{IMAGE_MARKER}\n{rng.choice(NAME)}",
                qry_image_path=same,
                pos_text=one.name,
                neg_text=other.name,
                **keys,
            )
        )
        rows["emoji_i2i"].append(
            TrainingRow(
                qry=f"{IMAGE_MARKER}\n{rng.choice(SIMILAR)}",
                qry_image_path=picture,
                pos_image_path=same,
                neg_image_path=other.paths[1 - style],
                **keys,
            )
        )
    return rows


def emoji_evaluation(
    emoji: list[Emoji], candidates: int, seed: int, split: Split = Split.DEVELOPMENT
) -> list[EvaluationRow]:
    """A split's names against pictures of other emoji, the right picture first."""
    rng = random.Random(seed)
    rows = []
    for one in (one for one in emoji if one.split is split):
        others = rng.sample([o for o in emoji if o is not one], min(candidates - 1, len(emoji) - 1))
        paths = [one.paths[0], *(other.paths[0] for other in others)]
        rows.append(EvaluationRow(f"Find an image that shows: {one.name}", "", [""] * len(paths), paths))
    return rows
