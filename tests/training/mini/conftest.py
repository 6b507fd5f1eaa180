"""Small stand-ins for the sources of the mini benchmark, so that all of its data sets build in a test."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from training.mini import emoji

NAMES = ("COW FACE", "DOG", "SCISSORS", "VIOLIN", "LEMON", "UMBRELLA", "OWL", "BED")


def picture(number: int, mode: str = "RGB", kind: str = "PNG", side: int = 16) -> bytes:
    """An encoded picture like no other: its number is its first pixels' colour."""
    image = Image.new(mode, (side, side), (200, 30, number % 251, 255)[: len(mode)])
    image.putpixel((0, 0), (number % 256, number // 256, 7, 255)[: len(mode)])
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def source_packages(tmp_path_factory):
    """The npm packages with a few hundred drawings, laid out as npm installs them."""
    modules = tmp_path_factory.mktemp("packages") / "node_modules"
    categories = (*emoji.CATEGORIES, "Symbols", "People & Body")
    entries = []
    for number in range(450):
        category = categories[number % len(categories)]
        name = NAMES[number] if number < len(NAMES) and category not in ("Flags",) else f"THING {number}"
        entries.append(
            {
                "name": name,
                "category": category,
                "subcategory": f"animal-kind {number % 5}",
                "unified": f"1F{number:03X}",
                "image": f"{number}.png",
                "has_img_google": True,
                "has_img_twitter": True,
            }
        )
    for place, style in enumerate(emoji.STYLES):
        folder = modules / f"emoji-datasource-{style}" / "img" / style / "64"
        folder.mkdir(parents=True)
        for number in range(450):
            (folder / f"{number}.png").write_bytes(picture(1000 * place + number, "RGBA"))
    (modules / "emoji-datasource-google" / "emoji.json").write_text(json.dumps(entries))
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 3">'
        '<rect width="4" height="3" fill="{}"/></svg>'
    )
    for ratio in ("4x3", "1x1"):
        folder = modules / "flag-icons" / "flags" / ratio
        folder.mkdir(parents=True)
        for number, code in enumerate(
            ("fr", "jp", "br", "ca", "de", "us", "it", "se", "ke", "pe", "in", "gr")
        ):
            (folder / f"{code}.svg").write_text(drawing.format(f"#{number:x}{len(ratio)}{ratio[0]}"))
    folder = modules / "@fortawesome" / "fontawesome-free" / "svgs" / "solid"
    folder.mkdir(parents=True)
    for number, name in enumerate(("house", "car-side", "dog", "42", "a-b-c")):
        (folder / f"{name}.svg").write_text(drawing.format(f"#00{number}"))
    return modules.parent


@pytest.fixture(scope="session")
def source_photos(tmp_path_factory):
    """Labelled photos and captions, with some that two sets share."""
    folder = tmp_path_factory.mktemp("photos")
    labels = {"caltech101": ("crab", "rooster", "laptop", "panda", "cup"), "cifar10": ("dog", "ship", "cat")}
    for place, name in enumerate(("caltech101", "clothing", "cifar10")):
        known = labels.get(name, ("hat", "shoes"))
        images = [
            picture(5000 + (400 * place if number else 0) + number, "RGB", "JPEG") for number in range(240)
        ]
        table = {"image": images, "label": [known[n % len(known)] for n in range(240)]}
        pq.write_table(pa.table(table), folder / f"{name}_train.parquet")
    groups = [[f"photo {n} seen by {who} with word{n % 17}" for who in ("ann", "bob")] for n in range(260)]
    groups += [
        ["the very same words for two photos", f"and others {n} of no help at all"] for n in range(200)
    ]
    pq.write_table(pa.table({"captions": groups}), folder / "multi30k_captions_train.parquet")
    return folder


@pytest.fixture(scope="session")
def small_build():
    """The build with fewer drawn scenes and pictures of shapes."""
    from training.mini import build

    fewer = {split: count // 10 for split, count in build.SCENES.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "SCENES", fewer)
        patch.setattr(build, "SHAPE_PICTURES", 300)
        yield build.build_mini_data


@pytest.fixture(scope="session")
def mini_data(tmp_path_factory, source_packages, source_photos, small_build):
    """The whole mini benchmark from the small sources, and what its build reported."""
    folder, lines = tmp_path_factory.mktemp("mini"), []
    small_build(folder, source_photos, source_packages, lines.append)
    return folder, lines
