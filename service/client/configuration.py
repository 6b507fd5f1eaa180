"""Where the server is and how it is spoken to."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import httpx

from service.client.patience import Patience

DEFAULT_URL = "http://127.0.0.1:8080"
URL_VARIABLE = "SOLOMON_URL"
API_KEY_VARIABLE = "SOLOMON_API_KEY"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A server's address and key (None: SOLOMON_URL and SOLOMON_API_KEY), patience and width.

    `timeout` is the seconds that one attempt may take; `concurrency` how many calls are under way at once
    where there are many to make.
    """

    url: str
    api_key: str | None = field(repr=False)
    patience: Patience
    timeout: float
    concurrency: int

    @classmethod
    def given(
        cls, url: str | None, api_key: str | None, patience: Patience | None, timeout: float, concurrency: int
    ) -> Configuration:
        """What was given, and the environment for the rest. Raises ValueError for no concurrency at all."""
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}; give 1 or more")
        return cls(
            (url or os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/"),
            api_key or os.environ.get(API_KEY_VARIABLE),
            patience or Patience(),
            timeout,
            concurrency,
        )

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every call."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    @property
    def timeouts(self) -> httpx.Timeout:
        """Timeouts of every call; a server that is not there is noticed sooner."""
        return httpx.Timeout(self.timeout, connect=min(5.0, self.timeout))
