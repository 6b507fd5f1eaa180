"""A small training set in MMEB's format: questions with answers, plain words, and coloured pictures."""

import random
from pathlib import Path

from PIL import Image

from training.mmeb import IMAGE_MARKER, EvaluationRow, TrainingRow, write_rows
from training.recipe import Recipe

COLOURS = ("red", "green", "blue", "yellow", "purple", "black", "orange", "white")
ANSWERS = ("rome", "oslo", "cairo", "lima", "tokyo", "paris", "quito", "delhi")


def text_rows() -> list[TrainingRow]:
    """Eight questions, whose augmentation is the answer."""
    return [
        TrainingRow(
            qry=f"Which city has number {number}?",
            pos_text=answer,
            neg_text=ANSWERS[number - 1],
            augmentation=answer,
            pos_key=answer,
            neg_key=ANSWERS[number - 1],
        )
        for number, answer in enumerate(ANSWERS)
    ]


def image_rows() -> list[TrainingRow]:
    """Picture to colour name and colour name to picture."""
    rows = []
    for number, colour in enumerate(COLOURS):
        other = COLOURS[number - 1]
        keys = {"pos_key": colour, "neg_key": other}
        picture, negative = f"colours/{colour}.png", f"colours/{other}.png"
        rows.append(
            TrainingRow(
                qry=f"{IMAGE_MARKER}\nWhat colour?",
                qry_image_path=picture,
                pos_text=colour,
                neg_text=other,
                **keys,
            )
        )
        rows.append(TrainingRow(qry=colour, pos_image_path=picture, neg_image_path=negative, **keys))
    return rows


def write_pictures(images: Path) -> None:
    """A 64-pixel PNG a colour, with a little noise so that no two pixels need be equal."""
    (images / "colours").mkdir(parents=True)
    noise = random.Random(0)
    for colour in COLOURS:
        picture = Image.new("RGB", (64, 64), colour)
        for _ in range(40):
            spot = noise.randrange(64), noise.randrange(64)
            picture.putpixel(spot, (noise.randrange(256), noise.randrange(256), noise.randrange(256)))
        picture.save(images / "colours" / f"{colour}.png")


def write_data(folder: Path) -> Path:
    """The whole data folder, train/, eval/ and images/."""
    write_pictures(folder / "images")
    write_rows(folder / "train" / "cities.parquet", text_rows())
    write_rows(folder / "train" / "colours.parquet", image_rows())
    questions = [
        EvaluationRow(
            f"Which city has number {number}?",
            "",
            [answer, *(a for a in ANSWERS if a != answer)],
            [""] * len(ANSWERS),
            answer,
        )
        for number, answer in enumerate(ANSWERS)
    ]
    pictures = [
        EvaluationRow(
            colour,
            "",
            [""] * len(COLOURS),
            [f"colours/{colour}.png", *(f"colours/{c}.png" for c in COLOURS if c != colour)],
        )
        for colour in COLOURS
    ]
    for split in ("eval", "calibration"):
        write_rows(folder / split / "cities.parquet", questions)
        write_rows(folder / split / "colours.parquet", pictures)
    return folder


def tiny_recipe(base: Path, **changes) -> Recipe:
    """A recipe that the tiny model learns the small set with in seconds."""
    fields = {
        "name": "tiny",
        "base": str(base),
        "datasets": {"cities": 1.0, "colours": 1.0},
        "steps": 4,
        "batch_size": 4,
        "learning_rate": 5e-3,
        "merger_learning_rate": 5e-3,
        "warmup_steps": 2,
        "lora_rank": 4,
        "temperature": 0.05,
        "alpha_gen": 0.5,
        "max_text_tokens": 64,
        "max_augment_tokens": 12,
        "image_side": 56,
        "save_every": 2,
    }
    return Recipe(**{**fields, **changes})
