"""Flags: which country has it, and what one must know of that country (flag-icons, GeoNames).

Square flags teach which country a flag belongs to, of every country. Facts are asked with the 4:3 drawing,
and a country's facts are held out whole, as in the `countries` data set: no data set teaches the capital of
a held-out country, by name or by flag.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.mini.questions import CONTINENTS, SMALLEST_POPULATION, countries
from training.mini.rendering import save_png, svg_on_white
from training.mini.splits import Split, content_hash, split_of
from training.mini.vqa import PictureQuestion

WIDTH = 128
NAME = ("Which country has this flag?", "Whose flag is this?", "Name the country of this flag.")
FACTS = {
    "capital": (
        "What is the capital of the country with this flag?",
        "Which city is the capital of the country whose flag this is?",
    ),
    "currency": (
        "What is the currency of the country with this flag?",
        "What do you pay with in the country with this flag?",
    ),
    "continent": (
        "On which continent is the country with this flag?",
        "The country with this flag lies on what continent?",
    ),
}


@dataclass(frozen=True, slots=True)
class Flag:
    """A country's flag as two drawings, with the facts that are asked."""

    country: str
    square: str
    wide: str
    facts: dict[str, str]
    split: Split


def read_flags(package: Path, image_root: Path) -> list[Flag]:
    """Draw the flags of the countries whose facts are asked; a drawing that two of them share is left out."""
    flags, seen = [], set[int]()
    for entry in countries():
        code = entry["iso"].lower()
        wide, square = (package / "flags" / ratio / f"{code}.svg" for ratio in ("4x3", "1x1"))
        if entry["population"] < SMALLEST_POPULATION or not entry["capital"] or not wide.exists():
            continue
        drawings = [svg_on_white(path, WIDTH) for path in (square, wide)]
        looks = {content_hash(drawing.tobytes()) for drawing in drawings}
        if looks & seen:
            continue
        seen |= looks
        squared, widened = (
            save_png(image_root, f"flags/{code}-{form}.png", drawing)
            for form, drawing in zip(("square", "wide"), drawings, strict=True)
        )
        facts = {
            "capital": entry["capital"],
            "currency": entry["currencyname"],
            "continent": CONTINENTS.get(entry["continentcode"], ""),
        }
        flags.append(Flag(entry["name"], squared, widened, facts, split_of(entry["name"])))
    return flags


def flag_questions(flags: list[Flag]) -> list[PictureQuestion]:
    """Names by the square flag, for training; facts by the other, on the country's side."""
    named = [
        PictureQuestion(flag.square, question, flag.country, "country", Split.TRAINING)
        for flag in flags
        for question in NAME
    ]
    facts = [
        PictureQuestion(flag.wide, question, flag.facts[kind], kind, flag.split, flag.country)
        for flag in flags
        for kind, wordings in FACTS.items()
        for question in wordings
        if flag.facts[kind]
    ]
    return named + facts
