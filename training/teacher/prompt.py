"""What the teacher is asked, and how its reply is read.

The prompt follows the paper (arXiv 2511.02358): the teacher reasons first and then answers, in marked
sections, and only the answer becomes the augmentation. The paper does not print its prompt; this wording
is ours. Change `VERSION` with it: replies to another version are another cache entry.
"""

from __future__ import annotations

import base64
import io
import re
from typing import Any

from PIL import Image, UnidentifiedImageError

VERSION = "reason-then-answer-1"
MAX_ANSWER_WORDS = 60

SYSTEM = """\
You help a search engine. A user's query is to be matched with documents, and a document that matches may \
share no word and no picture with the query. Work out what the query asks for, and state it.

Reply with exactly two sections:
<reasoning>
What does the query ask for? What does the picture show, if there is one? What do you know that settles it?
</reasoning>
<answer>
The answer itself: a name, a few words, or one sentence, at most 30 words. No explanation.
</answer>

Rules for the answer:
- Answer even when you are not certain; give the most likely answer.
- Do not repeat the query and do not describe what you were asked to do.
- If the query is a description and not a question, state what it describes in other words."""

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_REASONING = re.compile(r"<reasoning>.*?</reasoning>", re.IGNORECASE | re.DOTALL)
_MARKUP = re.compile(r"</?(?:answer|reasoning)>|<\||\|>", re.IGNORECASE)


class MalformedReply(ValueError):
    """A reply without the sections that were asked for, or with an answer that cannot be used."""


def messages(text: str, image: bytes | None) -> list[dict[str, Any]]:
    """The chat messages for one query, its image as a data URI, byte for byte.

    Raises ValueError for bytes that are no image.
    """
    content: list[dict[str, Any]] = []
    if image is not None:
        content.append({"type": "image_url", "image_url": {"url": data_uri(image)}})
    content.append({"type": "text", "text": f"Query: {text}" if text else "Query: the picture."})
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]


def data_uri(image: bytes) -> str:
    """An image as a data URI with its true media type. Raises ValueError for bytes that are no image."""
    try:
        with Image.open(io.BytesIO(image)) as opened:
            media_type = opened.get_format_mimetype()
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError("The query's image file holds no readable image.") from error
    return f"data:{media_type};base64,{base64.b64encode(image).decode()}"


def parse_answer(reply: str) -> str:
    """The answer section's text, on one line.

    The reasoning section must be there and is removed first, so an answer tag within it does not count.
    Raises MalformedReply, which says what is wrong with the reply.
    """
    rest, reasoned = _REASONING.subn("", reply)
    if not reasoned:
        raise MalformedReply("it has no <reasoning> section")
    answers = _ANSWER.findall(rest)
    if len(answers) != 1:
        raise MalformedReply(f"it has {len(answers) or 'no'} closed <answer> sections, not one")
    answer = " ".join(answers[0].split())
    if not answer:
        raise MalformedReply("its answer is empty")
    if _MARKUP.search(answer):
        raise MalformedReply("its answer holds markup")
    words = len(answer.split())
    if words > MAX_ANSWER_WORDS:
        raise MalformedReply(f"its answer has {words} words, more than {MAX_ANSWER_WORDS}")
    return answer
