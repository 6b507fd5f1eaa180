"""A teacher behind an OpenAI-compatible endpoint: many queries at once, each asked at most once ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import SolomonError
from training.mmeb import TrainingRow, strip_image_marker
from training.subsets import ImageRoot
from training.teacher import prompt
from training.teacher.answers import Advance, Answer, Cost
from training.teacher.cache import Reply, ReplyCache, reply_key
from training.teacher.endpoint import Endpoint, EndpointSettings, EndpointUnavailable, RequestFailed

REPEAT_TEMPERATURE = 0.7  # a malformed reply at temperature 0 would only come again
MALFORMED_ATTEMPTS = 3
FAILURES_IN_A_ROW = 20  # then the endpoint is away, and waiting through every query helps nobody

Query = tuple[str, str]  # the text without its image marker, and the image's path


@dataclass(frozen=True, slots=True)
class Caching:
    """Where replies are kept, and whether those that were malformed to the end are asked for again."""

    path: Path
    retry_malformed: bool = False


class EndpointTeacher:
    """Asks the endpoint for what the cache does not hold; implements `Teacher`."""

    def __init__(
        self, settings: EndpointSettings, api_key: str | None, caching: Caching, image_root: Path
    ) -> None:
        self.settings, self.caching, self.images = settings, caching, ImageRoot(image_root)
        self.cost = Cost()
        self._api_key = api_key
        self._failures = 0  # in a row

    @property
    def facts(self) -> dict[str, Any]:
        """Model, prompt version and settings."""
        return {
            "teacher": "endpoint",
            "model": self.settings.model,
            "prompt": prompt.VERSION,
            "temperature": self.settings.temperature,
            "max_tokens": self.settings.max_tokens,
        }

    def answer(self, dataset: str, rows: Sequence[TrainingRow], advance: Advance) -> list[Answer]:
        """An answer for each row; equal queries are asked once.

        Raises EndpointUnavailable when the endpoint is of no use; what was answered stays in the cache.
        """
        queries = [(strip_image_marker(row.qry), row.qry_image_path) for row in rows]
        places: dict[Query, int] = {}
        for query in queries:
            places[query] = places.get(query, 0) + 1
        started = time.monotonic()
        try:
            answers = asyncio.run(self._ask_all(places, advance))
        except BaseExceptionGroup as group:
            raise _first_cause(group) from group
        finally:
            self.cost.seconds += time.monotonic() - started
        return [answers[query] for query in queries]

    async def _ask_all(self, places: dict[Query, int], advance: Advance) -> dict[Query, Answer]:
        """`places` counts the rows that hold each query, for the progress shown."""
        cache = ReplyCache(self.caching.path)
        waiting, answers = iter(places.items()), {}
        try:
            async with Endpoint(self.settings, self._api_key) as endpoint:

                async def work() -> None:
                    for query, count in waiting:
                        answers[query] = await self._ask(query, endpoint, cache)
                        advance(count)

                try:
                    async with asyncio.TaskGroup() as group:
                        for _ in range(self.settings.concurrency):
                            group.create_task(work())
                finally:
                    self.cost.requests += endpoint.requests
                    self.cost.retries += endpoint.retries
        finally:
            cache.close()
        return answers

    async def _ask(self, query: Query, endpoint: Endpoint, cache: ReplyCache) -> Answer:
        text, path = query
        self.cost.queries += 1
        try:
            image = self._image(path)
            messages = prompt.messages(text, image)
        except (OSError, ValueError) as error:
            return Answer(problem=str(error))
        sampling = f"temperature={self.settings.temperature} max_tokens={self.settings.max_tokens}"
        key = reply_key(self.settings.model, prompt.VERSION, sampling, text, image)
        reply = cache.get(key)
        if reply is not None and (reply.answer or not self.caching.retry_malformed):
            self._count_cached(reply)
        else:
            try:
                reply = await self._reply(messages, endpoint)
            except RequestFailed as error:
                return self._failed(error)
            cache.put(key, reply)
        return Answer(reply.answer, f"malformed: {reply.problem}" if reply.problem else "")

    def _image(self, path: str) -> bytes | None:
        """A query's image; nothing outside the image root ever leaves for the endpoint."""
        if not path:
            return None
        if fault := self.images.fault(path):
            raise ValueError(fault)
        return (self.images.folder / path).read_bytes()

    async def _reply(self, messages: list[dict[str, Any]], endpoint: Endpoint) -> Reply:
        """Ask until a reply has its sections; the last problem is kept when none has."""
        problem, text = "", ""
        prompt_tokens = completion_tokens = 0
        seconds = 0.0
        for attempt in range(MALFORMED_ATTEMPTS):
            warmer = max(self.settings.temperature, REPEAT_TEMPERATURE)
            completion = await endpoint.complete(
                messages, warmer if attempt else self.settings.temperature, seed=attempt
            )
            self._failures = 0
            self.cost.prompt_tokens += completion.prompt_tokens
            self.cost.completion_tokens += completion.completion_tokens
            prompt_tokens += completion.prompt_tokens
            completion_tokens += completion.completion_tokens
            seconds += completion.seconds
            text = completion.text or ""
            try:
                if completion.text is None:
                    raise prompt.MalformedReply("the response is no chat completion with a text")
                answer = prompt.parse_answer(text)
            except prompt.MalformedReply as error:
                cut = f" (cut off at {self.settings.max_tokens} tokens)"
                problem = f"{error}{cut if completion.finish_reason == 'length' else ''}"
            else:
                return Reply(answer, "", text, prompt_tokens, completion_tokens, seconds)
        return Reply("", problem, text, prompt_tokens, completion_tokens, seconds)

    def _count_cached(self, reply: Reply) -> None:
        self.cost.cached += 1
        self.cost.cached_prompt_tokens += reply.prompt_tokens
        self.cost.cached_completion_tokens += reply.completion_tokens

    def _failed(self, error: RequestFailed) -> Answer:
        """A query without a reply; too many in a row mean that the endpoint is away."""
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW:
            raise EndpointUnavailable(
                f"{self._failures} queries in a row got no reply from {self.settings.base_url} ({error}). "
                "Run again when it answers: what is answered is kept."
            ) from error
        return Answer(problem=f"failed: {error}")


def _first_cause(group: BaseExceptionGroup) -> BaseException:
    """The error that stopped the workers, out of its task group; a SolomonError before others."""
    leaves = list(_leaves(group))
    return next((leaf for leaf in leaves if isinstance(leaf, SolomonError)), leaves[0])


def _leaves(group: BaseExceptionGroup) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
