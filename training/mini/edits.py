"""Retrieval by an image and a text: the same drawing, changed as the text says."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageOps

from training.mini.emoji import Emoji
from training.mini.evaluating import draw, evaluation_row, image_documents
from training.mini.rendering import save_png
from training.mini.splits import Split
from training.mmeb import IMAGE_MARKER, EvaluationRow, TrainingRow

WORDINGS = (
    "Given an image, find a similar one with these changes: {change}",
    "The same, but {change}.",
    "{change}",
    "Find this picture {change}.",
)
EVALUATED_WORDINGS = (WORDINGS[0], "The same, but {change}.")
OTHER_STYLE = "drawn in another style"
TRAINED_CHANGES = 2  # of each emoji


def _on(colour: str) -> Callable[[Image.Image], Image.Image]:
    def change(picture: Image.Image) -> Image.Image:
        near_white = picture.convert("L").point(lambda value: 255 if value > 250 else 0)
        return Image.composite(Image.new("RGB", picture.size, colour), picture, near_white)

    return change


def _half_as_big(picture: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", picture.size, "white")
    canvas.paste(ImageOps.scale(picture, 0.5), (picture.width // 4, picture.height // 4))
    return canvas


def _twice(picture: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", (2 * picture.width, picture.height), "white")
    canvas.paste(picture, (0, 0))
    canvas.paste(picture, (picture.width, 0))
    return canvas


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "on a red background": _on("crimson"),
    "on a blue background": _on("royalblue"),
    "on a green background": _on("seagreen"),
    "on a yellow background": _on("gold"),
    "on a black background": _on("black"),
    "in black and white": lambda picture: ImageOps.grayscale(picture).convert("RGB"),
    "in inverted colours": ImageOps.invert,
    "half as big": _half_as_big,
    "twice, side by side": _twice,
    "with a thick black frame": lambda picture: ImageOps.expand(picture, 8, "black"),
}


class Editor:
    """Draws changed emoji when they are asked for, once each."""

    def __init__(self, image_root: Path) -> None:
        self.image_root = image_root
        self._drawn: dict[tuple[str, str], str] = {}

    def changed(self, emoji: Emoji, change: str) -> str:
        """The picture of an emoji after a change, below the image root."""
        if change == OTHER_STYLE:
            return emoji.paths[1]
        if (emoji.paths[0], change) not in self._drawn:
            with Image.open(self.image_root / emoji.paths[0]) as picture:
                result = CHANGES[change](picture.convert("RGB"))
            name = f"edits/{Path(emoji.paths[0]).stem}-{change.replace(' ', '-').replace(',', '')}.png"
            self._drawn[emoji.paths[0], change] = save_png(self.image_root, name, result)
        return self._drawn[emoji.paths[0], change]


def edit_rows(emoji: Sequence[Emoji], editor: Editor, seed: int) -> list[TrainingRow]:
    """Training rows; the hard negative is the same emoji after another change."""
    rng = random.Random(seed)
    rows = []
    for one in emoji:
        if one.split is not Split.TRAINING:
            continue
        for change in rng.sample([*CHANGES, OTHER_STYLE], TRAINED_CHANGES):
            other = rng.choice([another for another in CHANGES if another != change])
            rows.append(
                TrainingRow(
                    qry=f"{IMAGE_MARKER}\n{rng.choice(WORDINGS).format(change=change)}",
                    qry_image_path=one.paths[0],
                    pos_image_path=editor.changed(one, change),
                    neg_image_path=editor.changed(one, other),
                    pos_key=f"{one.name} {change}",
                    neg_key=f"{one.name} {other}",
                )
            )
    return rows


def edit_evaluation(
    emoji: Sequence[Emoji], editor: Editor, limit: int, candidates: int, seed: int, split: Split
) -> list[EvaluationRow]:
    """A split's emoji: every change of the one in the query, and changed pictures of the split's others."""
    rng = random.Random(seed)
    chosen = [one for one in emoji if one.split is split]
    changes = [*CHANGES, OTHER_STYLE]
    pictures = {one.paths[0]: [editor.changed(one, change) for change in changes] for one in chosen}
    queries = [(one, change) for one in chosen for change in changes]
    rows = []
    for number, (one, change) in enumerate(rng.sample(queries, min(limit, len(queries)))):
        right = ("", editor.changed(one, change))
        same = [("", path) for path in pictures[one.paths[0]] if path != right[1]]
        elsewhere = [path for first, paths in pictures.items() if first != one.paths[0] for path in paths]
        others = draw(rng, image_documents(elsewhere), right, candidates - len(changes))
        query = EVALUATED_WORDINGS[number % 2].format(change=change)
        rows.append(evaluation_row(f"{IMAGE_MARKER}\n{query}", one.paths[0], right, same + others))
    return rows
