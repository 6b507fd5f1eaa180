"""Emoji pictures in two drawing styles, from the npm packages emoji-datasource-google and -twitter."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from training.mini.evaluating import draw, evaluation_row, image_documents, text_documents
from training.mini.packages import GOOGLE_EMOJI, TWITTER_EMOJI, find_package
from training.mini.rendering import on_white, save_png
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
KIND = (
    "What kind of thing is this?",
    "Identify the category of the object in the image.",
    "Represent the given image for classification.",
    "Which group does this belong to?",
    "",
)
PLAIN_KINDS = {
    "animal-bug": "insect or other small animal",
    "animal-marine": "sea animal",
    "plant-other": "plant",
    "food-prepared": "prepared food",
    "food-asian": "Asian food",
    "food-sweet": "sweet food",
    "food-marine": "seafood",
    "place-map": "map or globe",
    "place-geographic": "landscape",
    "place-religious": "religious building",
    "place-other": "sight",
    "transport-ground": "land vehicle",
    "transport-water": "ship or boat",
    "transport-air": "aircraft",
    "time": "clock",
    "other-object": "other object",
}
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
    """One emoji: its plain name, category, a picture in each style below the image root, and subcategory."""

    name: str
    category: str
    paths: tuple[str, ...]
    split: Split
    kind: str = ""


def read_emoji(packages: Path, image_root: Path, categories: tuple[str, ...] = CATEGORIES) -> list[Emoji]:
    """Write the emoji of the two unpacked packages below the image root; those of `categories`.

    Pictures are put on white: a transparent background means nothing to the vision tower. Raises
    ValueError where one of the packages is not in `packages`.
    """
    folders = {style: find_package(packages, f"emoji-datasource-{style}") for style in STYLES}
    google = folders["google"]
    if google is None or folders["twitter"] is None:
        raise ValueError(
            f"{packages} lacks {GOOGLE_EMOJI} or {TWITTER_EMOJI}: npm install --prefix {packages} "
            f"{GOOGLE_EMOJI} {TWITTER_EMOJI}"
        )
    emoji = []
    for entry in json.loads((google / "emoji.json").read_text("utf-8")):
        if entry["category"] not in categories or not all(entry[f"has_img_{style}"] for style in STYLES):
            continue
        name = entry["name"].lower().replace(" face", "") if entry["category"] != "Flags" else entry["name"]
        paths = tuple(_write_on_white(folders[style], style, entry["image"], image_root) for style in STYLES)
        emoji.append(
            Emoji(name, entry["category"], paths, split_of(entry["unified"]), entry.get("subcategory", ""))
        )
    return emoji


def _write_on_white(package: Path | None, style: str, file_name: str, image_root: Path) -> str:
    name = f"emoji-{style}/{file_name}"
    if package is None or (image_root / name).exists():
        return name
    return save_png(image_root, name, on_white(package / "img" / style / "64" / file_name))


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
        keys = one.name, other.name
        picture, same, negative = one.paths[style], one.paths[1 - style], other.paths[style]
        rows["emoji_t2i"].append(
            TrainingRow(
                qry=rng.choice(FIND).format(name=one.name),
                pos_image_path=picture,
                neg_image_path=negative,
                pos_key=keys[0],
                neg_key=keys[1],
            )
        )
        rows["emoji_i2t"].append(
            TrainingRow(
                qry=f"{IMAGE_MARKER}\n{rng.choice(NAME)}",
                qry_image_path=same,
                pos_text=one.name,
                neg_text=other.name,
                pos_key=keys[0],
                neg_key=keys[1],
            )
        )
        rows["emoji_i2i"].append(
            TrainingRow(
                qry=f"{IMAGE_MARKER}\n{rng.choice(SIMILAR)}",
                qry_image_path=picture,
                pos_image_path=same,
                neg_image_path=other.paths[1 - style],
                pos_key=keys[0],
                neg_key=keys[1],
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


def naming_evaluation(emoji: list[Emoji], candidates: int, seed: int, split: Split) -> list[EvaluationRow]:
    """A split's pictures, half of them with a plain question, against names."""
    rng = random.Random(seed)
    names = text_documents(sorted({one.name for one in emoji}))
    rows = []
    for number, one in enumerate(one for one in emoji if one.split is split):
        others = draw(rng, names, (one.name, ""), candidates - 1)
        query = f"{IMAGE_MARKER}\n{NAME[number % 2]}"
        rows.append(evaluation_row(query, one.paths[1], (one.name, ""), others))
    return rows


def style_evaluation(emoji: list[Emoji], candidates: int, seed: int, split: Split) -> list[EvaluationRow]:
    """A split's pictures in one style against pictures in the other."""
    rng = random.Random(seed)
    pictures = image_documents([one.paths[1] for one in emoji])
    rows = []
    for one in (one for one in emoji if one.split is split):
        right = ("", one.paths[1])
        others = draw(rng, pictures, right, candidates - 1)
        rows.append(evaluation_row(f"{IMAGE_MARKER}\n{SIMILAR[0]}", one.paths[0], right, others))
    return rows


def kind_rows(emoji: list[Emoji], seed: int) -> list[TrainingRow]:
    """Picture to the kind of thing that it shows ("mammal", "musical instrument")."""
    rng = random.Random(seed)
    kinds = sorted({kind_name(one) for one in emoji})
    rows = []
    for one in (one for one in emoji if one.split is Split.TRAINING):
        negative = rng.choice([kind for kind in kinds if kind != kind_name(one)])
        rows.append(
            TrainingRow(
                qry=f"{IMAGE_MARKER}\n{rng.choice(KIND)}",
                qry_image_path=rng.choice(one.paths),
                pos_text=kind_name(one),
                neg_text=negative,
                pos_key=kind_name(one),
                neg_key=negative,
            )
        )
    return rows


def kind_evaluation(emoji: list[Emoji], seed: int, split: Split) -> list[EvaluationRow]:
    """A split's pictures against every kind."""
    rng = random.Random(seed)
    kinds = text_documents(sorted({kind_name(one) for one in emoji}))
    return [
        evaluation_row(
            f"{IMAGE_MARKER}\n{KIND[number % 2]}", rng.choice(one.paths), (kind_name(one), ""), kinds
        )
        for number, one in enumerate(one for one in emoji if one.split is split)
    ]


def kind_name(one: Emoji) -> str:
    """An emoji's subcategory in plain words: "animal-mammal" is a mammal, "food-sweet" sweet food."""
    if one.kind in PLAIN_KINDS:
        return PLAIN_KINDS[one.kind]
    words = one.kind.removeprefix("animal-").removeprefix("food-").removeprefix("place-")
    return words.removeprefix("plant-").replace("-", " ").replace("&", "and")
