"""API keys as they are configured: a hash, scopes, and optionally a rate and a name.

A key that `new_key` makes is 256 random bits. One SHA-256 is enough for such a key: slow hashes (scrypt,
argon2) make each guess dear where secrets can be guessed, and nobody guesses one of 2**256. On the server a
slow hash would do harm, since every call with a wrong key would cost it as much as a search.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from service.auth.rates import Rate
from service.auth.scopes import Scope

PREFIX = "sha256:"
KEY_MARK = "solomon_"  # lets scanners for leaked secrets know one
ALL_SCOPES = frozenset(Scope)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_FILE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One configured key; `name` is for logs, `digest` is the key's SHA-256."""

    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope] = ALL_SCOPES
    rate: Rate | None = None


def digest_of(key: str) -> bytes:
    """A key's SHA-256."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def new_key(scopes: Iterable[Scope], rate: str | None, name: str | None) -> tuple[str, str]:
    """A fresh key, which nothing keeps, and the line that configures it. Raises `ValueError`."""
    if name is not None:
        _check_name(name)
    key = KEY_MARK + secrets.token_urlsafe(32)
    wanted = set(scopes)
    words = [
        PREFIX + digest_of(key).hex(),
        "scopes=" + "+".join(scope.value for scope in Scope if scope in wanted),
        *([f"rate={rate}"] if rate is not None else []),
        *([f"name={name}"] if name is not None else []),
    ]
    line = " ".join(words)
    parse_key(line)
    return key, line


def parse_scopes(text: str) -> frozenset[Scope]:
    """Scopes joined by "+" or commas; "all" is every one. Raises `ValueError`."""
    names = [name for name in re.split(r"[+,\s]+", text) if name]
    if names == ["all"]:
        return ALL_SCOPES
    unknown = [name for name in names if name not in ALL_SCOPES]
    if unknown or not names:
        wrong = f"scope {unknown[0][:40]!r} is unknown" if unknown else "no scope is given"
        raise ValueError(f"{wrong}; there are {', '.join(Scope)}, and all")
    return frozenset(Scope(name) for name in names)


def parse_key(line: str) -> ApiKey:
    """A line such as `sha256:<hex> scopes=embed+search rate=600/minute name=web`.

    Raises `ValueError`, which never repeats what may be a key.
    """
    first, *words = line.split()
    if not first.startswith(PREFIX) or not _DIGEST.fullmatch(first.removeprefix(PREFIX)):
        raise ValueError(
            "a key stands there as sha256: and 64 lower-case hex digits; `solomon key new` makes one"
        )
    settings: dict[str, str] = {}
    for word in words:
        option, _, value = word.partition("=")
        if option not in ("scopes", "rate", "name") or option in settings:
            raise ValueError("after its hash a key takes scopes=, rate= and name=, each once")
        settings[option] = value
    digest = first.removeprefix(PREFIX)
    name = settings.get("name", digest[:8])
    _check_name(name)
    rate = settings.get("rate")
    return ApiKey(
        name=name,
        digest=bytes.fromhex(digest),
        scopes=parse_scopes(settings.get("scopes", "")),
        rate=None if rate is None else Rate.parse(rate),
    )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError("a name takes up to 64 letters, digits, dots, dashes and underscores, and no space")


def configured_keys(entries: Iterable[str]) -> list[ApiKey]:
    """The keys of SOLOMON_API_KEYS: hashed ones, and plain ones, which have every scope.

    Raises `ValueError`.
    """
    keys = []
    for entry in dict.fromkeys(entries):
        if entry.startswith(PREFIX):
            keys.append(parse_key(entry))
        else:
            digest = digest_of(entry)
            keys.append(ApiKey(digest.hex()[:8], digest))
    return _distinct(keys)


def read_key_file(path: Path) -> list[ApiKey]:
    """The keys of a file: a line each; empty lines and those that begin with # say nothing.

    Raises `ValueError` with the line's number, and `OSError`.
    """
    with path.open("rb") as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise ValueError(f"the file is larger than {_MAX_FILE_BYTES} bytes")
    keys = []
    for number, line in enumerate(content.decode("utf-8").splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                keys.append(parse_key(line))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    return _distinct(keys)


def _distinct(keys: list[ApiKey]) -> list[ApiKey]:
    for attribute in ("name", "digest"):
        if len({getattr(key, attribute) for key in keys}) < len(keys):
            raise ValueError(f"two keys have the same {attribute}")
    return keys
