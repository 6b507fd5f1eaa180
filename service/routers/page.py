"""`/`: the web page."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

_PAGE = files("service") / "page"

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> Response:
    """Ask a question, see the route and the results."""
    return FileResponse(str(_PAGE / "index.html"), media_type="text/html")


router.mount("/page", StaticFiles(directory=str(_PAGE)), name="page")
