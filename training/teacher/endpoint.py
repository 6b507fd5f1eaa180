"""Chat completions from an OpenAI-compatible endpoint, with retries that do as the server asks.

A reply of 408, 409, 429 or 5xx, a broken connection and a time-out are tried again, after `Retry-After`
where the server sends one (all requests then wait, not only the refused one), else after a random,
exponentially growing time. The key is sent in the header alone, and never appears in an error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from model.errors import SolomonError

TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
HOPELESS = frozenset({401, 402, 403, 404, 405})  # the same for every query: the set-up is wrong
LONGEST_WAIT = 600.0  # seconds; a server that asks for more is as good as away


class EndpointUnavailable(SolomonError):
    """The endpoint cannot serve this run at all: wrong key, address or model, or away for long."""


class RequestFailed(SolomonError):
    """One query got no reply: the endpoint refused it, or every attempt failed."""


class _Transient(Exception):
    """Worth another attempt, after `retry_after` seconds where the server said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Where the teacher is and how it is asked; `backoff` is the first wait's upper bound in seconds.

    `limit_field` is what the endpoint calls the longest reply: OpenAI's own reasoning models want
    "max_completion_tokens".
    """

    base_url: str
    model: str
    temperature: float = 0.0
    max_tokens: int = 512
    limit_field: str = "max_tokens"
    concurrency: int = 16
    timeout: float = 120.0
    attempts: int = 8
    backoff: float = 1.0

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.base_url)
        except httpx.InvalidURL as error:
            raise ValueError(f"--base-url is no URL ({error}); give one like http://host:8000/v1.") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("--base-url must begin with http:// or https:// and name a host.")
        if url.userinfo or url.query:
            raise ValueError(
                "--base-url must hold no user, password or parameters; the key comes from the environment."
            )

    @property
    def completions_url(self) -> str:
        """The address that is posted to."""
        return f"{self.base_url.rstrip('/')}/chat/completions"


@dataclass(frozen=True, slots=True)
class Completion:
    """One reply as it came; `text` is None where the body is no chat completion."""

    text: str | None
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float


class Endpoint:
    """An open connection pool to the endpoint; use it as an async context manager."""

    def __init__(self, settings: EndpointSettings, api_key: str | None) -> None:
        """Raises ValueError for a key that no header can hold."""
        key = (api_key or "").strip()
        if not key.isascii() or not key.isprintable():
            raise ValueError("The API key holds characters that no header can carry; set it again.")
        self.settings, self._key = settings, key
        self.requests = self.retries = 0
        self._not_before = 0.0  # a monotonic instant: until then nothing is sent
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(settings.timeout, connect=min(10.0, settings.timeout)),
            limits=httpx.Limits(max_connections=settings.concurrency),
        )

    async def __aenter__(self) -> Endpoint:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def complete(
        self, messages: Sequence[Mapping[str, Any]], temperature: float, seed: int
    ) -> Completion:
        """One chat completion.

        Raises RequestFailed when this query gets no reply, and EndpointUnavailable when none would.
        """
        body = {
            "model": self.settings.model,
            "messages": messages,
            "temperature": temperature,
            self.settings.limit_field: self.settings.max_tokens,
            "seed": seed,
        }
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Transient),
            stop=stop_after_attempt(self.settings.attempts),
            wait=self._wait,
            reraise=True,
        )
        try:
            return await retrying(self._attempt, body)
        except _Transient as error:
            raise RequestFailed(f"{self.settings.attempts} attempts failed; the last: {error}") from error

    async def _attempt(self, body: Mapping[str, Any]) -> Completion:
        while (pause := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        self.requests += 1
        started = time.monotonic()
        try:
            response = await self._client.post(self.settings.completions_url, json=body)
        except httpx.TransportError as error:
            raise _Transient(f"{type(error).__name__} {self._scrubbed(str(error))}".strip()) from error
        if response.status_code != httpx.codes.OK:
            self._refuse(response)
        return _completion(response, time.monotonic() - started)

    def _refuse(self, response: httpx.Response) -> None:
        """Raise what a status other than 200 means."""
        status = response.status_code
        said = f"{status} {self._scrubbed(_error_message(response))}".strip()
        if status in TRANSIENT:
            raise _Transient(said, self._retry_after(response))
        if status in HOPELESS:
            raise EndpointUnavailable(
                f"The endpoint {self.settings.base_url} refuses: {said}. Check the address, the model's "
                "name and the key in the environment."
            )
        raise RequestFailed(f"the endpoint refused the query: {said}")

    def _retry_after(self, response: httpx.Response) -> float | None:
        seconds = retry_after_seconds(response.headers.get("Retry-After"))
        if seconds is None:
            return None
        if seconds > LONGEST_WAIT:
            raise EndpointUnavailable(
                f"The endpoint asks to wait {seconds:.0f} s; run again later, what is answered is kept."
            )
        self._not_before = max(self._not_before, time.monotonic() + seconds)
        return seconds

    def _wait(self, state: RetryCallState) -> float:
        self.retries += 1
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _Transient) and error.retry_after is not None:
            return error.retry_after
        return wait_random_exponential(multiplier=self.settings.backoff, max=60)(state)

    def _scrubbed(self, message: str) -> str:
        """A server's or library's words without the key, which some servers quote back."""
        return message.replace(self._key, "***")[:300] if self._key else message[:300]


def retry_after_seconds(value: str | None) -> float | None:
    """A Retry-After header in seconds from now: it holds seconds or an HTTP date. None for neither."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        instant = parsedate_to_datetime(value)
    except ValueError:
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max(0.0, (instant - datetime.now(UTC)).total_seconds())


def _completion(response: httpx.Response, seconds: float) -> Completion:
    try:
        body = response.json()
        choice = body["choices"][0]
        text, finish = choice["message"]["content"], str(choice.get("finish_reason") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Completion(None, "", 0, 0, seconds)
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Completion(
        text if isinstance(text, str) else None,
        finish,
        int(counts.get("prompt_tokens") or 0),
        int(counts.get("completion_tokens") or 0),
        seconds,
    )


def _error_message(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return response.text
    error = body.get("error", body) if isinstance(body, dict) else body
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or "")
