"""Builds the mini data set: one Parquet file a dataset in MMEB's format, and an image root.

<folder>/images/<dataset>/...      the image root
<folder>/train/<dataset>.parquet   training rows
<folder>/eval/<dataset>.parquet    evaluation rows over contents held out of training
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training.mini import captions, emoji, photos, questions
from training.mmeb import EvaluationRow, TrainingRow, write_rows

PHOTO_SETS = {"caltech101": None, "clothing": None, "cifar10": 6000}
EVALUATED = 300  # queries an evaluation subset, where there are as many
SEED = 7

Report = Callable[[str], None]


def build_mini_data(
    folder: Path, photo_folder: Path | None, emoji_folder: Path | None, report: Report = print
) -> None:
    """Write every dataset whose source is at hand; what is missing is named and left out.

    `photo_folder` holds `<name>_train.parquet` for each photo set and the captions; `emoji_folder` the
    unpacked npm packages emoji-datasource-google and -twitter, as `<style>/package`.
    """
    _write(folder, "countries", questions.question_rows(questions.country_questions(), SEED), report)
    _evaluate(
        folder,
        "countries",
        questions.question_evaluation(questions.country_questions(), EVALUATED, 200, SEED),
        report,
    )
    general = questions.knowledge_questions()
    _write(folder, "knowledge", questions.question_rows(general, SEED), report)
    _evaluate(folder, "knowledge", questions.question_evaluation(general, EVALUATED, 200, SEED), report)
    _write(folder, "paraphrases", questions.paraphrase_rows(SEED), report)
    _evaluate(folder, "paraphrases", questions.paraphrase_evaluation(), report)
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
        _evaluate(folder, "emoji", emoji.emoji_evaluation(pictures, 500, SEED), report)


def _build_photos(folder: Path, source: Path, report: Report) -> None:
    for name, limit in PHOTO_SETS.items():
        found = photos.read_photos(source / f"{name}_train.parquet", name, folder / "images", limit)
        _write(folder, name, photos.classification_rows(found, SEED), report)
        _evaluate(folder, name, photos.classification_evaluation(found, 600, SEED), report)
        if name == "caltech101":
            _write(folder, f"{name}_t2i", photos.image_retrieval_rows(found, SEED), report)


def _build_captions(folder: Path, source: Path, report: Report) -> None:
    training, held_out = captions.read_captions(source)
    _write(folder, "captions", captions.caption_rows(training, 25_000, SEED), report)
    _evaluate(folder, "captions", captions.caption_evaluation(held_out, 1000, SEED), report)


def _write(folder: Path, name: str, rows: list[TrainingRow], report: Report) -> None:
    write_rows(folder / "train" / f"{name}.parquet", rows)
    report(f"train/{name}: {len(rows)} rows")


def _evaluate(folder: Path, name: str, rows: list[EvaluationRow], report: Report) -> None:
    write_rows(folder / "eval" / f"{name}.parquet", rows)
    report(f"eval/{name}: {len(rows)} queries")
