"""Writes a report: `report.json`, and `report.html`, which asks nothing of any other file or host."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model.errors import SolomonError
from model.installing import install_command

JSON_NAME, HTML_NAME = "report.json", "report.html"
_HERE = Path(__file__).parent


class ReportError(SolomonError):
    """A report cannot be drawn; the message says how to mend it."""


def require_plots() -> None:
    """Raise ReportError where what the page needs is not installed: before hours of work, not after."""
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ReportError(f"The report needs {error.name}: {install_command('train')}") from error


def write_report(document: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write the document and its page into a folder, each atomically; returns their paths.

    The numbers are on disk before the page is drawn. Raises ReportError without matplotlib or Jinja.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = _write(folder / JSON_NAME, json.dumps(document, indent=1, allow_nan=False) + "\n")
    return numbers, _write(folder / HTML_NAME, page(document))


def page(document: Mapping[str, Any]) -> str:
    """The document as one HTML page with its plots and style inside. Raises ReportError as above."""
    require_plots()
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from training.report import figures

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    environment.globals["figures"] = figures
    environment.globals["route_names"] = figures.NAMES
    style = (_HERE / "page.css").read_text("utf-8")
    return environment.get_template("page.html").render(report=document, style=style)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _points(value: float | None) -> str:
    """A difference of shares in percentage points, signed with a true minus."""
    return "" if value is None else f"{100 * value:+.1f}".replace("-", "−")


def _interval(
    estimate: Mapping[str, float | None] | None, form: Callable[[float | None], str] = _share
) -> str:
    """A mean with its bounds in brackets, or alone where there are none."""
    if estimate is None:
        return "–"
    mean = form(estimate["mean"] if "mean" in estimate else estimate["precision_at_1"])
    if estimate["low"] is None:
        return mean
    return f"{mean} [{form(estimate['low'])}, {form(estimate['high'])}]"


def _points_interval(estimate: Mapping[str, float | None] | None) -> str:
    return _interval(estimate, _points)


_FILTERS: dict[str, Callable[..., str]] = {
    "share": _share,
    "points": _points,
    "interval": _interval,
    "points_interval": _points_interval,
}


def _write(path: Path, text: str) -> Path:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)
    return path
