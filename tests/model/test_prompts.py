import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import EmptyItem, InputError, TooLong
from model.prompts import PromptEncoder, PromptFormat, RouteTokens
from model.types import InputType
from tests.model.tiny import SPECIAL_TOKENS, build_tokenizer

ENCODER = PromptEncoder(build_tokenizer())
ADDED = set(build_tokenizer().get_added_vocab().values())


@pytest.fixture
def encoder():
    return ENCODER


def readable(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False)


def test_query_template(encoder, tokenizer):
    ids = encoder.encode("a cat", instruction="Find it", image_tokens=2)
    assert readable(tokenizer, ids) == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|image_pad|><|vision_end|>\nFind it\na cat"
        "<|im_end|>\n<|im_start|>assistant\n"
    )
    assert readable(tokenizer, encoder.one_pass(ids)).endswith("assistant\n/embed<|im_end|>")
    answer = encoder.plain_ids("Paris")
    assert readable(tokenizer, encoder.augmented(ids, answer)).endswith("assistant\n/augmentParis<|im_end|>")


def test_document_template(encoder, tokenizer):
    ids = encoder.encode("a cat", input_type=InputType.DOCUMENT)
    assert readable(tokenizer, ids) == "<|im_start|>document\na cat<|im_end|>"
    assert ids[-1] == encoder.routes.eos_id


@pytest.mark.parametrize(
    ("text", "instruction", "expected"),
    [
        ("t", None, "t"),
        (None, "i", "i"),
        ("t", "i", "i\nt"),
        ("t", " ", "t"),
        (" ", "i", "i"),
        ("", None, ""),
    ],
)
def test_text_and_instruction_may_be_absent(encoder, tokenizer, text, instruction, expected):
    ids = encoder.encode(text, instruction, image_tokens=1)
    assert f"<|vision_end|>\n{expected}<|im_end|>" in readable(tokenizer, ids)


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_empty_item(encoder, text):
    with pytest.raises(EmptyItem):
        encoder.encode(text, instruction="Find it")


@given(parts=st.lists(st.sampled_from([*SPECIAL_TOKENS, "a", " ", "\n", "<|", "|>"]), min_size=1))
def test_text_never_becomes_a_special_token(parts):
    text = "".join(parts)
    ids = ENCODER.plain_ids(text)
    assert not ADDED & set(ids)
    assert len(ids) == len(text)  # the test's tokenizer has one token a byte


def test_special_tokens_in_text_and_instruction_leave_the_template_alone(encoder):
    hostile = "".join(SPECIAL_TOKENS)
    plain = encoder.encode("x", "y")
    attacked = encoder.encode(hostile, hostile)
    assert [i for i in attacked if i in ADDED] == [i for i in plain if i in ADDED]


@given(text=st.text(max_size=60))
def test_any_unicode_text_is_accepted_and_invalid_text_is_named(text):
    assert isinstance(ENCODER.plain_ids(text), list)
    with pytest.raises(InputError, match="surrogates"):
        ENCODER.plain_ids(text + "\ud800")


def test_too_long_names_limit_and_count(encoder):
    whole = len(encoder.encode("x" * 50))
    assert len(encoder.encode("x" * 50, max_tokens=whole)) == whole
    with pytest.raises(TooLong, match=f"{whole} tokens and the limit is {whole - 1}") as caught:
        encoder.encode("x" * 50, max_tokens=whole - 1)
    assert caught.value.field == "text"


@given(length=st.integers(0, 80), limit=st.integers(40, 120), kind=st.sampled_from(list(InputType)))
def test_truncation_keeps_template_instruction_and_image(length, limit, kind):
    text = "x" * length
    whole = ENCODER.encode(text, "find", 3, kind)
    cut = ENCODER.encode(text, "find", 3, kind, max_tokens=limit, truncate=True)
    missing = len(whole) - len(cut)
    assert len(cut) == min(len(whole), limit)
    assert [i for i in cut if i in ADDED] == [i for i in whole if i in ADDED]
    assert cut == ENCODER.encode("x" * (length - missing), "find", 3, kind)


def test_what_cannot_be_cut_is_named(encoder):
    with pytest.raises(TooLong) as image:
        encoder.encode("x", image_tokens=100, max_tokens=60, truncate=True)
    assert image.value.field == "image"
    with pytest.raises(TooLong) as instruction:
        encoder.encode("x", "i" * 100, max_tokens=60, truncate=True)
    assert instruction.value.field == "instruction"


def test_route_tokens(tokenizer):
    routes = RouteTokens.from_tokenizer(tokenizer)
    assert tokenizer.convert_ids_to_tokens([routes.embed_id, routes.augment_id]) == ["/embed", "/augment"]
    assert routes.eos_id not in routes.banned
    assert {routes.embed_id, routes.augment_id, routes.image_id} < set(routes.banned)


def test_missing_route_token_is_named():
    bare = build_tokenizer(special_tokens=[token for token in SPECIAL_TOKENS if token != "/augment"])
    with pytest.raises(ValueError, match="'/augment'"):
        RouteTokens.from_tokenizer(bare)


def test_document_must_end_with_eos(tokenizer):
    with pytest.raises(ValueError, match="document_suffix"):
        PromptEncoder(tokenizer, PromptFormat(document_suffix="\n"))


def test_of_an_endless_text_only_the_start_is_read(encoder, monkeypatch):
    read = []
    plain_ids = encoder.plain_ids
    monkeypatch.setattr(encoder, "plain_ids", lambda text: read.append(len(text)) or plain_ids(text))
    endless = "ab" * 1_000_000
    with pytest.raises(TooLong, match=r"more than [0-9,]+ tokens and the limit is 50"):
        encoder.encode(endless, max_tokens=50)
    cut = encoder.encode(endless, max_tokens=50, truncate=True)
    assert cut == encoder.encode(endless[:100], max_tokens=50, truncate=True)
    assert len(cut) == 50
    assert max(read) < 1000
