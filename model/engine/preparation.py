"""From an item and its options to a request: everything that runs on the caller's own thread."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TypeVar

from model.engine.request import Request
from model.engine.settings import EngineSettings
from model.errors import InputError
from model.images import prepare_image
from model.loaded import LoadedModel
from model.prompts import PromptEncoder
from model.rope import ImageSpan
from model.types import EmbedOptions, InputType, Item, RouteChoice
from model.vision import MERGE

_Choice = TypeVar("_Choice", bound=StrEnum)


class Preparer:
    """Tokenises, decodes images and checks options; thread-safe. Raises `InputError`s."""

    def __init__(self, loaded: LoadedModel, settings: EngineSettings) -> None:
        self._encoder = PromptEncoder(loaded.tokenizer, loaded.prompt_format)
        self._image_format = loaded.image_format
        self._threshold = loaded.threshold
        self._max_prompt_tokens = loaded.max_prompt_tokens
        self._augment_limit = settings.longest_augmentation(loaded.max_augment_tokens)
        self._max_augment_tokens = min(loaded.max_augment_tokens, self._augment_limit)

    def prepare(self, item: Item, options: EmbedOptions, deadline: float | None) -> Request:
        """The request, ready to be queued; its clock starts before the preparation."""
        submitted = time.monotonic()
        input_type = _one_of(InputType, "input_type", options.input_type)
        choice = _one_of(RouteChoice, "route", options.route)
        threshold = self._checked_threshold(options.augment_threshold)
        max_augment_tokens = self._checked_augment_tokens(options.max_augment_tokens)
        image = prepare_image(item.image, self._image_format) if item.image is not None else None
        ids = self._encoder.encode(
            item.text,
            options.instruction,
            image.token_count if image else 0,
            input_type,
            max_tokens=self._max_prompt_tokens,
            truncate=options.truncate,
        )
        span = None
        if image is not None:
            _, rows, columns = image.grid_thw
            start = ids.index(self._encoder.routes.image_id)
            span = ImageSpan(start, rows // MERGE, columns // MERGE)
        return Request(
            ids=ids,
            image=image,
            image_span=span,
            input_type=input_type,
            choice=choice,
            threshold=threshold,
            max_augment_tokens=max_augment_tokens,
            priority=options.priority,
            deadline=deadline,
            submitted=submitted,
        )

    def _checked_threshold(self, value: float | None) -> float:
        if value is None:
            return self._threshold
        if not 0.0 <= value <= 1.0:
            raise InputError(
                "augment_threshold",
                "out_of_range",
                f"augment_threshold must be from 0 to 1, not {value}.",
                "Send a number in that range, or leave it out.",
            )
        return value

    def _checked_augment_tokens(self, value: int | None) -> int:
        if value is None:
            return self._max_augment_tokens
        if not 1 <= value <= self._augment_limit:
            raise InputError(
                "max_augment_tokens",
                "out_of_range",
                f"max_augment_tokens must be from 1 to {self._augment_limit}, not {value}.",
                "Send a number in that range, or leave it out.",
            )
        return value


def _one_of(kind: type[_Choice], name: str, value: str) -> _Choice:
    """The option as its enum: a plain string that spells one is as good."""
    try:
        return kind(value)
    except ValueError as error:
        options = ", ".join(kind)
        message = f"There is no {name} {value!r}."
        raise InputError(name, "unknown_value", message, f"Use one of {options}.") from error
