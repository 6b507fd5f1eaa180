"""What is drawn anew: scenes of one side, edits that differ, and flags held out by country."""

import random

import pytest
from PIL import Image

from training.mini import edits, flags, questions, scenes, unseen, vqa
from training.mini.emoji import Emoji, read_emoji
from training.mini.evaluating import draw, evaluation_row, text_documents
from training.mini.packages import find_package
from training.mini.rendering import write_image
from training.mini.splits import Split, split_of

COLOURS = ("red", "green", "blue", "black", "purple", "orange")


@pytest.fixture
def parts(tmp_path):
    found = []
    for split in (Split.TRAINING, Split.DEVELOPMENT):
        for colour in COLOURS:
            name = f"{split.value}-{colour}.png"
            Image.new("RGB", (80, 60), colour).save(tmp_path / name)
            found.append(scenes.Part(name, colour, split))
    return found


def compose(parts, tmp_path, count=6):
    counts = {Split.TRAINING: count, Split.DEVELOPMENT: count, Split.CALIBRATION: count}
    return scenes.compose_scenes(parts, tmp_path, "scenes", counts, 3)


def test_a_scene_is_of_one_side_and_its_crops_show_its_parts(parts, tmp_path):
    found = compose(parts, tmp_path)
    assert len(found) == 12  # the calibration side has no parts
    for scene in found:
        assert {part.split for part in scene.parts} == {scene.split}
        assert len({part.name for part in scene.parts}) == 4
        for crop, part in zip(scene.crops, scene.parts, strict=True):
            with Image.open(tmp_path / crop) as picture:
                middle = picture.getpixel((picture.width // 2, picture.height // 2))
            assert middle == Image.new("RGB", (1, 1), part.name).getpixel((0, 0))


def test_the_right_crop_is_of_what_the_query_names(parts, tmp_path):
    found = compose(parts, tmp_path)
    names = {crop: part.name for scene in found for crop, part in zip(scene.crops, scene.parts, strict=True)}
    for row in scenes.grounding_rows(found, 3):
        assert names[row.pos_image_path] == row.pos_key != row.neg_key == names[row.neg_image_path]
        assert row.pos_key in row.qry
        assert row.qry_image_path.startswith("scenes/train")
    rows = scenes.grounding_evaluation(found, 20, 3, Split.DEVELOPMENT)
    assert len(rows) == 6
    for row in rows:
        right, *others = (names[path] for path in row.tgt_img_path)
        assert right in row.qry_text
        assert right not in others
        assert set(row.tgt_img_path[1:4]) < set(names)
        assert len(set(row.tgt_img_path)) == len(row.tgt_img_path) <= 20


def test_scenes_are_the_same_in_every_build(parts, tmp_path):
    first = compose(parts, tmp_path)
    before = (tmp_path / first[0].path).read_bytes()
    (tmp_path / first[0].path).unlink()
    assert compose(parts, tmp_path) == first
    assert (tmp_path / first[0].path).read_bytes() == before


@pytest.fixture
def one_emoji(tmp_path):
    picture = Image.new("RGB", (64, 64), "white")
    picture.paste((200, 40, 90), (8, 16, 40, 56))
    for style in ("google", "twitter"):
        (tmp_path / f"emoji-{style}").mkdir()
        picture.save(tmp_path / f"emoji-{style}" / "a.png")
        picture = picture.rotate(90)
    return Emoji("thing", "Objects", ("emoji-google/a.png", "emoji-twitter/a.png"), Split.DEVELOPMENT)


def test_every_change_gives_another_picture(one_emoji, tmp_path):
    editor = edits.Editor(tmp_path)
    paths = [editor.changed(one_emoji, change) for change in (*edits.CHANGES, edits.OTHER_STYLE)]
    pictures = {(tmp_path / path).read_bytes() for path in (*paths, one_emoji.paths[0])}
    assert len(pictures) == len(paths) + 1
    rows = edits.edit_evaluation([one_emoji], editor, 50, 40, 1, Split.DEVELOPMENT)
    assert len(rows) == len(paths)
    for row in rows:
        change = next(c for c in (*edits.CHANGES, edits.OTHER_STYLE) if c in row.qry_text)
        assert row.tgt_img_path[0] == editor.changed(one_emoji, change)
        assert sorted(row.tgt_img_path) == sorted(paths)


def test_a_country_s_facts_are_held_out_by_flag_as_by_name(source_packages, tmp_path):
    found = flags.read_flags(find_package(source_packages, "flag-icons"), tmp_path)
    assert {"France", "Brazil", "Japan"} <= {flag.country for flag in found}
    asked = flags.flag_questions(found)
    assert {flag.split for flag in found} == {split_of(flag.country) for flag in found}
    held_out = {flag.wide: flag for flag in found if flag.split is not Split.TRAINING}
    assert held_out
    trained = vqa.vqa_rows(asked, 1)
    assert not {row.qry_image_path for row in trained} & set(held_out)
    names = set(questions.held_out_countries())
    for row in trained:  # a held-out country's flag is named, and nothing else is said of it
        if any(row.qry_image_path == flag.square for flag in held_out.values()):
            assert row.pos_text in names
    rows = vqa.vqa_evaluation(asked, 99, 50, 1, Split.DEVELOPMENT)
    assert {row.qry_img_path for row in rows} <= set(held_out)
    countries = {flag.wide: flag.country for flag in found}
    assert all(row.augmentation == f"{countries[row.qry_img_path]}: {row.tgt_text[0]}" for row in rows)


def test_things_are_counted_right(source_packages, tmp_path):
    symbols = read_emoji(source_packages, tmp_path, ("Symbols",))
    rows = unseen.counting(symbols, tmp_path, 18, 5)
    assert [row.augmentation for row in rows] == [*unseen.NUMBERS, *unseen.NUMBERS]
    for row in rows:
        with Image.open(tmp_path / row.qry_img_path) as picture:
            grid = picture.resize((unseen.CELLS, unseen.CELLS), Image.Resampling.BOX)
        filled = sum(grid.getpixel((x, y)) != (255, 255, 255) for x in range(3) for y in range(3))
        assert unseen.NUMBERS[filled - 1] == row.tgt_text[0]


def test_a_city_and_a_domain_have_one_right_country():
    for rows in (unseen.city_questions(60, 1), unseen.domain_questions(60, 1)):
        assert len(rows) == 60
        for row in rows:
            assert len({text.lower() for text in row.tgt_text}) == len(row.tgt_text) > 100
            assert row.tgt_text[0] == row.augmentation
            assert row.augmentation not in row.qry_text


def test_picture_facts_ask_without_naming_the_picture():
    pictures = [("a.png", "cow", Split.TRAINING), ("b.png", "nothing known", Split.TRAINING)]
    found = vqa.picture_facts(pictures * 30, 1)
    assert {question.image for question in found} == {"a.png"}
    assert len(found) == 60
    assert not any("cow" in question.question for question in found)
    rows = vqa.vqa_rows(found, 1)
    assert all(row.augmentation == f"cow: {row.pos_text}" and row.pos_text != row.neg_text for row in rows)


def test_a_shape_is_what_its_questions_and_answers_tell():
    told = vqa.shape_of([("what is the blue shape?", "rectangle"), ("is there a red shape?", "no")])
    assert told == "blue rectangle"
    assert vqa.shape_of([("is there a teal shape in the image?", "yes")]) == "teal"
    assert (
        vqa.shape_of([("does the image not contain a circle?", "no"), ("is no red shape present?", "yes")])
        == "circle"
    )
    assert vqa.shape_of([("is there a circle?", "no"), ("is there not a triangle?", "yes")]) == ""


def test_candidates_are_named_once_with_the_right_one_first():
    documents = text_documents(["moo", "Oink", "oink", "baa", "MOO"])
    row = evaluation_row("q", "", ("moo", ""), documents)
    assert row.tgt_text[0] == "moo"
    assert sorted(text.lower() for text in row.tgt_text) == ["baa", "moo", "oink"]
    drawn = draw(random.Random(1), documents, ("moo", ""), 9)
    assert {text.lower() for text, _ in drawn} == {"oink", "baa"}


def test_a_picture_that_is_there_is_left_and_another_replaced(tmp_path):
    assert write_image(tmp_path, "a/b.png", b"one") == "a/b.png"
    stamp = (tmp_path / "a" / "b.png").stat().st_mtime_ns
    write_image(tmp_path, "a/b.png", b"one")
    assert (tmp_path / "a" / "b.png").stat().st_mtime_ns == stamp
    write_image(tmp_path, "a/b.png", b"two")
    assert (tmp_path / "a" / "b.png").read_bytes() == b"two"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.png"]


def test_a_missing_package_is_named_with_what_fetches_it(tmp_path):
    assert find_package(None, "flag-icons") is None
    (tmp_path / "google" / "package").mkdir(parents=True)
    with pytest.raises(ValueError, match="npm install --prefix"):
        read_emoji(tmp_path, tmp_path / "images")
