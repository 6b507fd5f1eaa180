"""`/docs`: Swagger UI from files of an installed package, so that it works without a network."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

PATH = "/docs"
_OWN = files("service") / "docs_page"
_SWAGGER = files("fastapi_swagger") / "resources"

router = APIRouter(include_in_schema=False)


@router.get(PATH)
async def docs() -> Response:
    """The page."""
    return FileResponse(str(_OWN / "docs.html"), media_type="text/html")


@router.get(f"{PATH}/docs.js")
async def script() -> Response:
    """Starts Swagger UI; a file of its own, because the page may run no inline script."""
    return FileResponse(str(_OWN / "docs.js"), media_type="text/javascript")


router.mount(f"{PATH}/assets", StaticFiles(directory=str(_SWAGGER)), name="swagger")
