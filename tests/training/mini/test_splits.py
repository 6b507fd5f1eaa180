"""What is held out never appears in training, dataset by dataset, and rows say what they claim."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from training.mini import captions, emoji, photos, questions
from training.mini.splits import HELD_OUT_PERCENT, Split, is_held_out, split_of

SEED = 7


@given(st.text(max_size=20))
def test_a_content_is_on_one_side_as_text_and_as_bytes(content):
    assert split_of(content) == split_of(content.encode())
    assert is_held_out(content) == (split_of(content) is not Split.TRAINING)


def test_about_a_tenth_is_held_out():
    share = sum(is_held_out(f"content {number}") for number in range(5000)) / 50
    assert share == pytest.approx(HELD_OUT_PERCENT, abs=2)
    sides = [split_of(f"content {number}") for number in range(5000)]
    assert sides.count(Split.DEVELOPMENT) > sides.count(Split.CALIBRATION) > 100


def without_instruction(query):
    return query.rpartition("\n")[2]


@pytest.mark.parametrize("source", [questions.country_questions, questions.knowledge_questions])
def test_held_out_questions_are_not_trained(source):
    found = source()
    rows = questions.question_rows(found, SEED)
    held_out = {question.question for question in found if question.split is not Split.TRAINING}
    asked = {without_instruction(row.qry) for row in rows}
    assert len(held_out) > 20
    assert len(rows) > 5 * len(held_out)
    assert not held_out & asked
    assert all(row.augmentation and row.augmentation in row.pos_text for row in rows)
    assert all(row.pos_key != row.neg_key for row in rows)
    evaluated = questions.question_evaluation(found, 60, 100, SEED)
    assert {row.qry_text for row in evaluated} <= held_out
    calibrated = questions.question_evaluation(found, 60, 100, SEED, Split.CALIBRATION)
    assert {row.qry_text for row in calibrated} <= held_out
    assert not {row.qry_text for row in calibrated} & {row.qry_text for row in evaluated}
    for row in evaluated:
        assert row.tgt_text[0] == row.augmentation
        assert len({text.lower() for text in row.tgt_text}) == len(row.tgt_text) == len(row.tgt_img_path)


def test_countries_are_held_out_whole():
    found = questions.country_questions()
    sides = {}
    for question in found:
        if question.topic == "countries: capital" and question.question.startswith("capital of "):
            sides[question.question.removeprefix("capital of ")] = (
                question.split is not Split.TRAINING,
                question.answer,
            )
    held_out = {answer for out, answer in sides.values() if out}
    trained = {row.augmentation for row in questions.question_rows(found, SEED)}
    still_known = {answer for out, answer in sides.values() if not out}
    assert len(held_out) >= 10
    assert not (held_out - still_known - set(sides)) & trained  # a capital may share a trained country's name


def test_some_country_questions_have_a_sentence_as_document():
    found = questions.country_questions()
    rows = questions.question_rows(found, SEED)
    sentences = {question.sentence for question in found} - {""}
    stated = [row for row in rows if row.pos_text in sentences]
    assert 0.1 < len(stated) / len(rows) < 0.3
    assert all(row.neg_text in sentences - {row.pos_text} for row in stated)
    assert all(row.pos_key == row.pos_text.lower() for row in stated)
    evaluated = questions.sentence_evaluation(found, 1000, SEED, Split.DEVELOPMENT)
    by_question = {question.question: question for question in found}
    for row in evaluated:
        question = by_question[row.qry_text]
        assert question.split is Split.DEVELOPMENT
        assert row.tgt_text[0] == question.sentence
        assert sorted(row.tgt_text) == sorted(sentences)
    assert not {row.tgt_text[0] for row in evaluated} & {row.pos_text for row in rows}


def test_held_out_descriptions_are_not_trained():
    rows = questions.paraphrase_rows(SEED)
    evaluated = questions.paraphrase_evaluation()
    held_out = {row.qry_text for row in evaluated} | {row.tgt_text[0] for row in evaluated}
    trained = {text for row in rows for text in (row.qry, row.pos_text, row.neg_text)}
    assert len(evaluated) >= 10
    assert not held_out & trained
    assert all(row.neg_text not in (row.qry, row.pos_text) for row in rows)
    assert not any(row.augmentation or row.neg_key for row in rows)


@pytest.fixture
def caption_file(tmp_path):
    groups = [
        [f"photo {n} seen by {who} with word{n % 17}" for who in ("ann", "bob", "cleo")] for n in range(220)
    ]
    path = tmp_path / "captions.parquet"
    pq.write_table(pa.table({"captions": [*groups, ["alone"]]}), path)
    return path


def test_held_out_captions_are_not_trained(caption_file):
    groups = captions.read_captions(caption_file)
    assert sum(map(len, groups.values())) == 220  # a lone caption has no partner
    training, held_out = groups[Split.TRAINING], groups[Split.DEVELOPMENT]
    rows = captions.caption_rows(training, 1000, SEED)
    assert len(rows) == len(training)
    trained = {text for row in rows for text in (without_instruction(row.qry), row.pos_text, row.neg_text)}
    kept_apart = {caption for group in held_out + groups[Split.CALIBRATION] for caption in group}
    assert kept_apart
    assert not trained & kept_apart
    evaluated = captions.caption_evaluation(held_out, 12, SEED)
    by_first = {group[0]: group[1] for group in held_out}
    for row in evaluated:
        assert row.tgt_text[0] == by_first[without_instruction(row.qry_text)]
        assert len(set(row.tgt_text)) == 12


def test_a_caption_and_its_positive_are_of_one_photo_and_the_negative_of_another(caption_file):
    training = captions.read_captions(caption_file)[Split.TRAINING]
    for row in captions.caption_rows(training[:40], 1000, SEED):  # fewer than the mining pool
        photo, positive, negative = (
            text.split(" seen")[0] for text in (without_instruction(row.qry), row.pos_text, row.neg_text)
        )
        assert photo == positive != negative
        assert without_instruction(row.qry) != row.pos_text


def jpeg(number):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue() + number.to_bytes(4)  # colours that JPEG rounds together stay apart


@pytest.fixture
def photo_file(tmp_path):
    path = tmp_path / "set_train.parquet"
    labels = ["cat", "dog", "sea"]
    pq.write_table(
        pa.table({"image": [jpeg(n) for n in range(90)], "label": [labels[n % 3] for n in range(90)]}), path
    )
    return path


def test_held_out_photos_are_not_trained(photo_file, tmp_path):
    found = photos.read_photos(photo_file, "set", tmp_path / "images")
    held_out = {photo.path for photo in found if photo.split is not Split.TRAINING}
    assert 3 <= len(held_out) <= 20
    rows = photos.classification_rows(found, SEED) + photos.image_retrieval_rows(found, SEED)
    trained = {path for row in rows for path in (row.qry_image_path, row.pos_image_path, row.neg_image_path)}
    assert trained - {""} == {photo.path for photo in found} - held_out
    labels = {photo.path: photo.label for photo in found}
    for row in rows:
        assert labels[row.qry_image_path or row.pos_image_path] == row.pos_key != row.neg_key
    splits = (Split.DEVELOPMENT, Split.CALIBRATION)
    shown = [
        {row.qry_img_path for row in photos.classification_evaluation(found, 100, SEED, split)}
        for split in splits
    ]
    assert set.union(*shown) == held_out
    assert not set.intersection(*shown)
    evaluated = photos.classification_evaluation(found, 100, SEED)
    for row in evaluated:
        assert row.tgt_text[0] == labels[row.qry_img_path]
        assert sorted(row.tgt_text) == ["cat", "dog", "sea"]


@pytest.mark.parametrize("limit", [1, 7, 60, 90, 200])
def test_a_limit_takes_that_many_photos_and_the_same_sides(photo_file, tmp_path, limit):
    everything = {photo.path: photo for photo in photos.read_photos(photo_file, "set", tmp_path)}
    some = photos.read_photos(photo_file, "set", tmp_path, limit)
    assert len(some) == min(limit, 90)
    assert all(everything[photo.path] == photo for photo in some)


def test_photos_of_one_class_have_no_negatives(photo_file, tmp_path):
    cats = [photo for photo in photos.read_photos(photo_file, "set", tmp_path) if photo.label == "cat"]
    for build in (photos.classification_rows, photos.image_retrieval_rows):
        with pytest.raises(ValueError, match="two classes"):
            build(cats, SEED)


@pytest.fixture
def packages(tmp_path):
    """The two unpacked packages with 80 pictures, some of which are not wanted."""
    entries = []
    for number in range(80):
        category = emoji.CATEGORIES[number % len(emoji.CATEGORIES)] if number else "Symbols"
        entry = {"name": f"THING {number} FACE", "category": category, "unified": f"1F{number:03X}"}
        entries.append(
            entry | {"image": f"{number}.png", "has_img_google": True, "has_img_twitter": number != 1}
        )
    for style in emoji.STYLES:
        folder = tmp_path / style / "package" / "img" / style / "64"
        folder.mkdir(parents=True)
        for number in range(80):
            Image.new("RGBA", (8, 8), (number, 0, 0, 0)).save(folder / f"{number}.png")
    (tmp_path / "google" / "package" / "emoji.json").write_text(json.dumps(entries))
    return tmp_path


def test_held_out_emoji_are_not_trained(packages, tmp_path):
    found = emoji.read_emoji(packages, tmp_path / "images")
    assert len(found) == 78
    held_out = [one for one in found if one.split is not Split.TRAINING]
    assert held_out
    datasets = emoji.emoji_rows(found, SEED)
    assert {name: len(rows) for name, rows in datasets.items()} == dict.fromkeys(
        ("emoji_t2i", "emoji_i2t", "emoji_i2i"), 78 - len(held_out)
    )
    rows = [row for dataset in datasets.values() for row in dataset]
    trained = {path for row in rows for path in (row.qry_image_path, row.pos_image_path, row.neg_image_path)}
    assert not trained & {path for one in held_out for path in one.paths}
    names = {row.pos_text for row in rows} | {row.neg_text for row in rows} | {row.pos_key for row in rows}
    assert not names & {one.name for one in held_out}
    evaluated = emoji.emoji_evaluation(found, 10, SEED)
    assert [row.tgt_img_path[0] for row in evaluated] == [
        one.paths[0] for one in held_out if one.split is Split.DEVELOPMENT
    ]
    assert all(len(set(row.tgt_img_path)) == 10 for row in evaluated)


def test_a_transparent_emoji_is_put_on_white(packages, tmp_path):
    one = emoji.read_emoji(packages, tmp_path / "images")[0]
    with Image.open(tmp_path / "images" / one.paths[0]) as picture:
        assert picture.mode == "RGB"
        assert picture.getpixel((4, 4)) == (255, 255, 255)


def test_no_general_question_names_a_held_out_country():
    held_out = {entry["name"] for entry in questions.countries() if is_held_out(entry["name"])}
    assert "Japan" in held_out
    asked = [question.question for question in questions.knowledge_questions()]
    assert not [question for question in asked if any(name in question for name in held_out)]
