import base64
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training.teacher.prompt import MAX_ANSWER_WORDS, MalformedReply, data_uri, messages, parse_answer


def picture(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, kind)
    return buffer.getvalue()


def test_only_the_answer_is_kept():
    reply = "<reasoning>\nIt is <b>big</b>.\n</reasoning>\n\n<answer>\n The  Eiffel\nTower \n</answer>"
    assert parse_answer(reply) == "The Eiffel Tower"


def test_an_answer_tag_within_the_reasoning_does_not_count():
    reply = "<reasoning>I first thought <answer>Lyon</answer>.</reasoning><answer>Paris</answer>"
    assert parse_answer(reply) == "Paris"


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "no <reasoning>"),
        ("Paris", "no <reasoning>"),
        ("<answer>Paris</answer>", "no <reasoning>"),
        ("<reasoning>x</reasoning>Paris", "no closed <answer>"),
        ("<reasoning>x</reasoning><answer>Paris", "no closed <answer>"),
        ("<reasoning>x</reasoning><answer>a</answer><answer>b</answer>", "2 closed <answer>"),
        ("<reasoning>x</reasoning><answer> \n </answer>", "empty"),
        ("<reasoning>x</reasoning><answer>a<|im_end|>b</answer>", "markup"),
        ("<reasoning>x</reasoning><answer><answer>a</answer>", "markup"),
        (f"<reasoning>x</reasoning><answer>{'word ' * (MAX_ANSWER_WORDS + 1)}</answer>", "61 words"),
    ],
)
def test_a_reply_without_its_sections_is_malformed(reply, problem):
    with pytest.raises(MalformedReply, match=problem):
        parse_answer(reply)


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_parses_or_is_malformed(reply):
    try:
        answer = parse_answer(reply)
    except MalformedReply:
        return
    assert answer == " ".join(answer.split())
    assert answer


@settings(deadline=None)
@given(st.lists(st.text("abcö?,.'-", min_size=1, max_size=8), min_size=1, max_size=MAX_ANSWER_WORDS))
def test_an_answer_in_its_sections_comes_back(words):
    reply = f"<Reasoning>so</Reasoning> <ANSWER>\n{'  '.join(words)}</ANSWER>"
    assert parse_answer(reply) == " ".join(words)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_an_image_goes_as_it_is_with_its_type(kind):
    data = picture(kind)
    media, encoded = data_uri(data).removeprefix("data:").split(";base64,")
    assert media == f"image/{kind.lower()}"
    assert base64.b64decode(encoded) == data


def test_messages_hold_the_image_before_the_text():
    system, user = messages("What is it?", picture("PNG"))
    assert system["role"] == "system"
    assert [part["type"] for part in user["content"]] == ["image_url", "text"]
    assert user["content"][1]["text"] == "Query: What is it?"
    assert [part["type"] for part in messages("What is it?", None)[1]["content"]] == ["text"]
    assert "picture" in messages("", picture("PNG"))[1]["content"][1]["text"]


def test_bytes_that_are_no_image_are_refused():
    with pytest.raises(ValueError, match="no readable image"):
        messages("x", b"<html>")
