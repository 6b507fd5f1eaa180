"""Variables of the environment that look like settings and are none: a misspelt limit would be no limit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from service.settings import Settings

_PREFIX = "SOLOMON_"
_LIKENESS = 0.8  # of two names; the prefix makes any two alike by half
# What commands and the model read without being settings of the server.
_OTHERS = frozenset(
    {
        "SOLOMON_URL",
        "SOLOMON_API_KEY",
        "SOLOMON_CACHE_DIR",
        "SOLOMON_SOURCE_MILVUS_TOKEN",
        "SOLOMON_TEACHER_API_KEY",
    }
)
# Kubernetes puts these into the pods beside services that are called solomon, solomon-headless and so on.
_SERVICE_LINKS = re.compile(r"SOLOMON_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_\w+)?)")


def not_settings(names: Iterable[str]) -> dict[str, str | None]:
    """Names of variables that start as settings do and mean nothing, each with the likeliest meant name."""
    known = {f"{_PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(
        name
        for name in names
        if name.startswith(_PREFIX)
        and name.upper() not in known
        and name not in _OTHERS
        and not _SERVICE_LINKS.fullmatch(name)
    )
    return {name: next(iter(get_close_matches(name, sorted(known), 1, _LIKENESS)), None) for name in unknown}
