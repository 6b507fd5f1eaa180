"""Photo datasets: image to class name and class name to image, from Parquet files of labelled photos."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from training.mini.evaluating import evaluation_row, image_documents
from training.mini.rendering import write_image
from training.mini.splits import Split, split_of
from training.mmeb import IMAGE_MARKER, EvaluationRow, TrainingRow

IDENTIFY = (
    "Identify the object shown in the image.",
    "Identify the object in the photo.",
    "Represent the given image for classification.",
    "What is in this picture?",
    "What object is this?",
    "Name the thing in the image.",
    "Which class does this photo belong to?",
    "Find the name of what the photo shows.",
    "",
)
FIND_IMAGE = (
    "Find an image that shows: {label}",
    "Find me a photo of: {label}",
    "a photo of a {label}",
    "{label}",
    "Show a picture of a {label}.",
    "Retrieve an image of the given object: {label}",
)
DOCUMENT_FORMS = ("{label}", "{label}", "{label}", "a {label}", "a photo of a {label}")


@dataclass(frozen=True, slots=True)
class Photo:
    """A labelled photo; `path` is relative to the image root."""

    path: str
    label: str
    split: Split


def read_photos(source: Path, name: str, image_root: Path, limit: int | None = None) -> list[Photo]:
    """Write a Parquet file's photos below the image root and return them, split by their content.

    `source` has the columns `image` (JPEG bytes) and `label`. With `limit`, that many rows spread evenly
    over the file are taken.
    """
    table = pq.read_table(source, columns=["image", "label"])
    total = table.num_rows
    taken = {number * total // limit for number in range(limit)} if limit and limit < total else range(total)
    photos = []
    for number, row in enumerate(table.to_pylist()):
        if number not in taken:
            continue
        path = write_image(image_root, f"{name}/{number:06d}.jpg", row["image"])
        photos.append(Photo(path, row["label"], split_of(row["image"])))
    return photos


def classification_rows(photos: list[Photo], seed: int) -> list[TrainingRow]:
    """Image-to-class training rows with a class of the same dataset as hard negative.

    Raises ValueError for photos of one class only.
    """
    rng = random.Random(seed)
    labels = _classes(photos)
    rows = []
    for photo in photos:
        if photo.split is not Split.TRAINING:
            continue
        negative = rng.choice([label for label in labels if label != photo.label])
        form = rng.choice(DOCUMENT_FORMS)
        rows.append(
            TrainingRow(
                qry=f"{IMAGE_MARKER}\n{rng.choice(IDENTIFY)}",
                qry_image_path=photo.path,
                pos_text=form.format(label=photo.label),
                neg_text=form.format(label=negative),
                pos_key=photo.label,
                neg_key=negative,
            )
        )
    return rows


def image_retrieval_rows(photos: list[Photo], seed: int) -> list[TrainingRow]:
    """Class-to-image training rows: a photo of the class is wanted, one of another class is not.

    Raises ValueError for training photos of one class only.
    """
    rng = random.Random(seed)
    training = [photo for photo in photos if photo.split is Split.TRAINING]
    _classes(training)
    rows = []
    for photo in training:
        negative = rng.choice(training)
        while negative.label == photo.label:
            negative = rng.choice(training)
        rows.append(
            TrainingRow(
                qry=rng.choice(FIND_IMAGE).format(label=photo.label),
                pos_image_path=photo.path,
                neg_image_path=negative.path,
                pos_key=photo.label,
                neg_key=negative.label,
            )
        )
    return rows


def _classes(photos: list[Photo]) -> list[str]:
    labels = sorted({photo.label for photo in photos})
    if len(labels) < 2:
        raise ValueError(f"The photos are of {len(labels)} class; a hard negative needs two classes or more.")
    return labels


def classification_evaluation(
    photos: list[Photo], limit: int, seed: int, split: Split = Split.DEVELOPMENT
) -> list[EvaluationRow]:
    """A split's photos against every class name of the dataset, the right one first."""
    labels = sorted({photo.label for photo in photos})
    held_out = [photo for photo in photos if photo.split is split]
    random.Random(seed).shuffle(held_out)
    rows = []
    for photo in held_out[:limit]:
        candidates = [photo.label, *(label for label in labels if label != photo.label)]
        rows.append(
            EvaluationRow(
                qry_text=f"{IMAGE_MARKER}\nIdentify the object in the photo.",
                qry_img_path=photo.path,
                tgt_text=candidates,
                tgt_img_path=[""] * len(candidates),
            )
        )
    return rows


def image_retrieval_evaluation(photos: list[Photo], seed: int, split: Split) -> list[EvaluationRow]:
    """Every class of a split, in a plain wording and in MMEB's, against one photo of each class."""
    rng = random.Random(seed)
    by_label: dict[str, list[str]] = {}
    for photo in photos:
        if photo.split is split:
            by_label.setdefault(photo.label, []).append(photo.path)
    shown = {label: rng.choice(paths) for label, paths in sorted(by_label.items())}
    return [
        evaluation_row(wording.format(label=label), "", ("", path), image_documents(list(shown.values())))
        for label, path in shown.items()
        for wording in (FIND_IMAGE[0], FIND_IMAGE[2])
    ]
