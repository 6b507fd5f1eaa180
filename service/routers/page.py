"""`/`: the web page."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_PAGE = Path(str(files("service") / "page"))
_SERVED = frozenset({".css", ".js", ".svg"})
# Browsers ask whether their copy is current, so that a new release's page never mixes with an old one's.
_HEADERS = {"Cache-Control": "no-cache"}

router = APIRouter(include_in_schema=False)


class PageFiles(StaticFiles):
    """The page's styles, scripts and drawings; nothing else of the folder, which is a Python package."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One file, or 404."""
        if Path(path).suffix not in _SERVED:
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


@router.get("/")
async def page() -> Response:
    """Ask a question, see the route and the results."""
    return FileResponse(_PAGE / "index.html", media_type="text/html", headers=_HEADERS)


router.mount("/page", PageFiles(directory=_PAGE), name="page")
