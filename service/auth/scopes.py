"""Scopes, and the one table that says which of them each call needs.

An application with a route that is not in the table cannot be made, so a new route is closed until somebody
decides who may call it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, StrEnum

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, compile_path
from starlette.types import Scope as CallScope


class Scope(StrEnum):
    """What a key may do. No scope includes another."""

    EMBED = "embed"
    SEARCH = "search"  # read: search, list and show
    WRITE = "write"  # make collections, add and delete documents
    ADMIN = "admin"  # drop, back up, restore, verify and rebuild whole collections
    METRICS = "metrics"  # for the scraper, which should be able to do nothing else


class Door(Enum):
    """What a call needs where it needs no scope."""

    OPEN = "open"  # no key, under whatever host name: health
    PAGE = "page"  # no key: the bare page and the description of the calls, which say which version this is
    ANY_KEY = "any key"


Access = Scope | Door

ACCESS: Mapping[str, Access] = {
    "GET /healthz": Door.OPEN,
    "GET /readyz": Door.OPEN,
    "GET /info": Door.ANY_KEY,
    "GET /problems/{slug}": Door.PAGE,
    "GET /openapi.json": Door.PAGE,
    "GET /docs": Door.PAGE,
    "GET /docs/docs.js": Door.PAGE,
    "MOUNT /docs/assets": Door.PAGE,
    "GET /": Door.PAGE,
    "MOUNT /page": Door.PAGE,
    "GET /v1/models": Door.ANY_KEY,
    "GET /v1/models/{model:path}": Door.ANY_KEY,
    "GET /metrics": Scope.METRICS,
    "POST /embed": Scope.EMBED,
    "POST /v1/embeddings": Scope.EMBED,
    "POST /search": Scope.SEARCH,
    "GET /collections": Scope.SEARCH,
    "GET /collections/{name}": Scope.SEARCH,
    "GET /collections/{name}/documents/{id:path}": Scope.SEARCH,
    "GET /collections/{name}/documents/{id:path}/image": Scope.SEARCH,
    "GET /collections/{name}/rebuild": Scope.SEARCH,
    "PUT /collections/{name}": Scope.WRITE,
    "POST /collections/{name}/documents": Scope.WRITE,
    "POST /collections/{name}/documents/missing": Scope.WRITE,
    "DELETE /collections/{name}/documents/{id:path}": Scope.WRITE,
    "DELETE /collections/{name}": Scope.ADMIN,
    "GET /collections/{name}/backup": Scope.ADMIN,
    "PUT /collections/{name}/backup": Scope.ADMIN,
    "POST /collections/{name}/verify": Scope.ADMIN,
    "POST /collections/{name}/rebuild": Scope.ADMIN,
    "DELETE /collections/{name}/rebuild": Scope.ADMIN,
}


def _paths_behind(*doors: Door) -> frozenset[str]:
    return frozenset(call.partition(" ")[2] for call, access in ACCESS.items() if access in doors)


OPEN_PATHS = _paths_behind(Door.OPEN)
KEYLESS_PATHS = _paths_behind(Door.OPEN, Door.PAGE)


def route_names(routes: Sequence[BaseRoute]) -> list[str]:
    """Every route of an application in routing order, as the table names it: "GET /info", "MOUNT /page"."""
    names = []
    for route in iter_route_contexts(routes):
        methods = sorted((route.methods or {"MOUNT"}) - {"HEAD"})  # HEAD is asked for as GET is
        names += [f"{method} {route.path}" for method in methods]
    return names


class RouteAccess:
    """Finds what a call needs, and which it is, before it is routed."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        """Take an application's routes. Raises `RuntimeError` for one that the table does not know."""
        self._entries = []
        for name in route_names(routes):
            if name not in ACCESS:
                raise RuntimeError(f"{name!r} has no entry in {__name__}.ACCESS: say there who may call it")
            method, _, template = name.partition(" ")
            pattern, _, _ = compile_path(f"{template}/{{path:path}}" if method == "MOUNT" else template)
            self._entries.append((method, pattern, template, ACCESS[name]))

    def of(self, call: CallScope) -> Access:
        """What a call needs; any key if nothing is at its address, to be told so."""
        _, access = self._find(call)
        return access

    def template(self, call: CallScope) -> str | None:
        """The template of a call's path, None if nothing is there."""
        template, _ = self._find(call)
        return template

    def _find(self, call: CallScope) -> tuple[str | None, Access]:
        asked = "GET" if call["method"] == "HEAD" else call["method"]
        for method, pattern, template, access in self._entries:
            if method in (asked, "MOUNT") and pattern.match(call["path"]):
                return template, access
        return None, Door.ANY_KEY
