"""Items to token ids: the templates, the route tokens, the length limit. Serving and training share it."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from model.errors import EmptyItem, InputError, TooLong
from model.types import InputType

EMBED_TOKEN = "/embed"  # noqa: S105
AUGMENT_TOKEN = "/augment"  # noqa: S105
EOS_TOKEN = "<|im_end|>"  # noqa: S105
IMAGE_TOKEN = "<|image_pad|>"  # noqa: S105


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """The template text around an item; stored in the checkpoint, parsed with special tokens.

    A query is prefix + vision + instruction and text + suffix, and the model's answer follows. A
    document is prefix + vision + text + suffix, whose last token is the EOS that it is pooled at.
    """

    query_prefix: str = "<|im_start|>user\n"
    query_suffix: str = "<|im_end|>\n<|im_start|>assistant\n"
    document_prefix: str = "<|im_start|>document\n"
    document_suffix: str = "<|im_end|>"
    vision_prefix: str = "<|vision_start|>"
    vision_suffix: str = "<|vision_end|>\n"


@dataclass(frozen=True, slots=True)
class RouteTokens:
    """The ids of the tokens that mean something to the engine.

    `banned` are the ids that an augmentation may never contain: every added token except EOS.
    `vocabulary` is the tokenizer's size; rows of the embedding matrix past it are banned as well.
    """

    embed_id: int
    augment_id: int
    eos_id: int
    image_id: int
    banned: tuple[int, ...]
    vocabulary: int

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase) -> RouteTokens:
        """Look the tokens up. Raises `ValueError` naming the first that the tokenizer lacks."""
        added: dict[str, int] = tokenizer.get_added_vocab()
        for token in (EMBED_TOKEN, AUGMENT_TOKEN, EOS_TOKEN, IMAGE_TOKEN):
            if token not in added:
                raise ValueError(f"The tokenizer has no added token {token!r}; add it as a special token.")
        return cls(
            embed_id=added[EMBED_TOKEN],
            augment_id=added[AUGMENT_TOKEN],
            eos_id=added[EOS_TOKEN],
            image_id=added[IMAGE_TOKEN],
            banned=tuple(sorted(set(added.values()) - {added[EOS_TOKEN]})),
            vocabulary=len(tokenizer),
        )


class PromptEncoder:
    """Turns items into token ids; stateless after construction, so threads may share one.

    Template text is parsed once, here, with special tokens. Callers' text goes through a tokenizer of
    its own that knows no added token at all, so "<|im_end|>" or "/embed" in a text is only characters.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat | None = None) -> None:
        self.routes = RouteTokens.from_tokenizer(tokenizer)
        self._plain = _without_added_tokens(tokenizer)
        self._longest_token = max(map(len, self._plain.get_vocab()))  # characters
        template = prompt_format or PromptFormat()

        def parse(text: str) -> list[int]:
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])

        self._frames = {
            InputType.QUERY: (parse(template.query_prefix), parse(template.query_suffix)),
            InputType.DOCUMENT: (parse(template.document_prefix), parse(template.document_suffix)),
        }
        self._vision = (parse(template.vision_prefix), parse(template.vision_suffix))
        if self._frames[InputType.DOCUMENT][1][-1:] != [self.routes.eos_id]:
            raise ValueError(f"document_suffix must end with {EOS_TOKEN}, the token that is pooled.")

        meaningful = {*self.routes.banned, self.routes.eos_id}
        if meaningful & set(self.plain_ids("".join(tokenizer.get_added_vocab()))):
            raise ValueError("The tokenizer makes special tokens of plain text; it cannot be used safely.")

    def encode(
        self,
        text: str | None,
        instruction: str | None = None,
        image_tokens: int = 0,
        input_type: InputType = InputType.QUERY,
        max_tokens: int | None = None,
        truncate: bool = False,
    ) -> list[int]:
        """The prompt's ids: a query up to the point where the model decides, a document with its EOS.

        `max_tokens` bounds the whole prompt, template and image tokens included. With `truncate` the end
        of the text is cut to fit, never the instruction, the template or the image. Raises `EmptyItem`,
        `TooLong`, or `InputError` for text that is not Unicode.
        """
        has_text = text is not None and bool(text.strip())
        if not has_text and image_tokens == 0:
            raise EmptyItem(
                "text", "empty_item", "The item has neither text nor an image.", "Give at least one."
            )
        lead = instruction.strip() if instruction else ""
        whole = "\n".join(part for part in (lead, text if has_text else None) if part)
        body = whole[: self._most_characters(max_tokens)]
        prefix, suffix = self._frames[input_type]
        vision = self._vision_ids(image_tokens)
        body_ids = self.plain_ids(body)
        total = len(prefix) + len(vision) + len(body_ids) + len(suffix)
        if max_tokens is not None and total > max_tokens:
            fixed = total - len(body_ids)
            size = f"{total:,}" if body == whole else f"more than {total:,}"
            body_ids = self._cut(body_ids, lead, max_tokens - fixed, size, max_tokens, truncate)
        return [*prefix, *vision, *body_ids, *suffix]

    def one_pass(self, query_ids: list[int]) -> list[int]:
        """The query as the single pass sees it: prompt, `/embed`, EOS."""
        return [*query_ids, self.routes.embed_id, self.routes.eos_id]

    def augmented(self, query_ids: list[int], answer_ids: list[int]) -> list[int]:
        """The query as an augmentation ends: prompt, `/augment`, the answer, EOS."""
        return [*query_ids, self.routes.augment_id, *answer_ids, self.routes.eos_id]

    def plain_ids(self, text: str) -> list[int]:
        """A caller's text as ids, with no special token recognised in it."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                "text", "not_unicode", "The text holds unpaired surrogates.", "Send valid Unicode."
            ) from error
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def _vision_ids(self, image_tokens: int) -> list[int]:
        if image_tokens == 0:
            return []
        before, after = self._vision
        return [*before, *[self.routes.image_id] * image_tokens, *after]

    def _most_characters(self, max_tokens: int | None) -> int | None:
        """So many characters are more than `max_tokens`, whatever they are: what follows need not be read.

        Tokenising a text of megabytes takes seconds. A token is at most `_longest_token` characters, of
        which Unicode normalisation may have made each out of several.
        """
        return None if max_tokens is None else 4 * self._longest_token * (max_tokens + 1)

    def _cut(
        self, body_ids: list[int], lead: str, room: int, size: str, limit: int, truncate: bool
    ) -> list[int]:
        """The text's ids cut to `room`, or `TooLong` with the field that has to shrink."""
        if room < 0:
            raise _too_long("image", size, limit, "Send a smaller image.")
        lead_count = len(self.plain_ids(lead + "\n")) if lead else 0
        if lead_count > room:
            raise _too_long("instruction", size, limit, "Shorten the instruction.")
        if not truncate:
            raise _too_long("text", size, limit, "Shorten it; /embed also cuts it where `truncate` is true.")
        return body_ids[:room]


def _without_added_tokens(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """The tokenizer's fast backend as one that recognises no added token in a text, and adds none.

    Its parts are shared, not copied: to write a vocabulary out and read it again takes most of a second.
    """
    backend = tokenizer.backend_tokenizer
    plain = Tokenizer(backend.model)
    if backend.normalizer is not None:
        plain.normalizer = backend.normalizer
    if backend.pre_tokenizer is not None:
        plain.pre_tokenizer = backend.pre_tokenizer
    return plain


def _too_long(field: str, size: str, limit: int, mend: str) -> TooLong:
    return TooLong(field, "too_long", f"The prompt has {size} tokens and the limit is {limit:,}.", mend)
