"""Brings the generated parts of the documentation up to date: `make reference`.

A generated part of a page stands between `<!-- generated: NAME -->` and `<!-- end -->`. It is committed, so
that it can be read anywhere, and a test fails while it differs from what the code says now.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from service.app import create_app
from service.cli import app as command_line
from service.settings import Settings, default_checkpoint

DOCS = Path(__file__).parent.parent
RESULTS = DOCS.parent / "benchmarks" / "results"
_PART = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SCORES = {"precision_at_1": "P@1", "confidence": "confidence", "route_accuracy": "right route"}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


def settings() -> str:
    """Every setting of the server."""
    rows = []
    for name, field in Settings.model_fields.items():
        rows.append([f"`SOLOMON_{name.upper()}`", _default(field), field.description or ""])
    return table(["variable", "default", "meaning"], rows)


def _default(field: Any) -> str:
    if field.default_factory is not None:
        return "see the meaning"
    value = field.default
    if value in (None, ()):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def commands() -> str:
    """Every command that the service itself brings, with its arguments and options."""
    return "\n".join(_command(typer.main.get_command(command_line), "solomon"))


def _command(command: Any, name: str) -> Iterator[str]:
    plugin = command.context_settings.get("ignore_unknown_options")  # has a --help of its own
    if name != "solomon":
        yield f"### `{name}`\n\n{_prose(command.help)}\n"
        rows = [_parameter(each) for each in command.params if each.name != "help"]
        if rows and not plugin:
            yield table(["", "meaning"], rows)
    for child, nested in sorted(getattr(command, "commands", {}).items()):
        yield from _command(nested, f"{name} {child}")


def _prose(text: str | None) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)", " ", (text or "").strip())


def _parameter(parameter: Any) -> list[str]:
    if parameter.param_type_name == "argument":
        names = f"`{parameter.metavar or parameter.name.upper()}`"
    else:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return [names, (parameter.help or "").strip()]


def calls() -> str:
    """Every call of the API, as its OpenAPI document says."""
    app = create_app(Settings(), _never)
    rows = []
    for path, methods in app.openapi()["paths"].items():
        for method, call in methods.items():
            statuses = ", ".join(sorted(call["responses"]))
            rows.append([f"`{method.upper()} {path}`", call.get("summary", ""), statuses])
    return table(["call", "does", "answers"], rows)


def _never(opening: object) -> Any:
    raise AssertionError("the reference opens no model")


def _manifest() -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((default_checkpoint() / "solomon.json").read_text("utf-8"))
    return manifest


def scores() -> str:
    """Scores of the shipped checkpoint, as its manifest has them."""
    rows = []
    for dataset, by_route in sorted(_manifest()["scores"].items()):
        for route, figures in by_route.items():
            counts = [str(figures.get(name, "")) for name in ("queries", "candidates")]
            values = [_figure(figures.get(name)) for name in _SCORES]
            rows.append([dataset, route, *counts, *values])
    return table(["dataset", "route", "queries", "candidates", *_SCORES.values()], rows)


def _figure(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else ""


def checkpoint() -> str:
    """What the shipped checkpoint is: base, threshold, limits."""
    manifest = _manifest()
    rows = [
        ["name", manifest["name"]],
        ["base", f"{manifest['base']['model']}, revision {manifest['base']['revision']}"],
        ["augments from", f"P(/augment) {manifest['augment_threshold']:.4f}"],
        ["longest prompt", f"{manifest['max_prompt_tokens']} tokens"],
        ["longest answer that it writes", f"{manifest['max_augment_tokens']} tokens"],
        ["dimensions trained as prefixes", ", ".join(map(str, manifest.get("dimensions") or [])) or "none"],
    ]
    return table(["", ""], rows)


def data() -> str:
    """What the shipped checkpoint was trained on, and under which licences, in its manifest's words."""
    manifest = _manifest()
    lines = []
    for part in ("data", "splits", "machine"):
        told = manifest["training"].get(part)
        if isinstance(told, dict):
            lines += [f"- {name}: {_words(value)}" for name, value in told.items()]
        elif told:
            lines.append(f"- {part}: {_words(told)}")
    lines += [f"- licence of {name}: {value}" for name, value in manifest["licences"].items()]
    return "\n".join(lines) + "\n"


def benchmarks() -> str:
    """The results that are committed, each with the machine and the commit that they were measured on."""
    return "\n".join(_benchmark(path) for path in sorted(RESULTS.glob("*.json")))


def _benchmark(path: Path) -> str:
    result = json.loads(path.read_text("utf-8"))
    where = result["surroundings"]
    told = f"{where['cores']} cores ({where['cpu']}), commit {where['commit']}, {where['date'][:10]}."
    rows = [[name, _measure(value)] for name, value in _leaves(result) if not name.startswith("surroundings")]
    return f"## {path.stem}\n\n{told}\n\n{table(['measured', 'value'], rows)}"


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every number or word of a nested result, under its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name} / {key}" if name else str(key))
    elif value is not None:
        yield name, value


def _measure(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def _words(value: Any) -> str:
    return value if isinstance(value, str) else f"`{json.dumps(value, ensure_ascii=False)}`"


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "commands": commands,
    "calls": calls,
    "scores": scores,
    "checkpoint": checkpoint,
    "data": data,
    "benchmarks": benchmarks,
}


def filled(text: str) -> str:
    """A page with its generated parts as they are now."""
    return _PART.sub(lambda part: f"{part[1]}\n{PARTS[part['name']]()}\n{part[3]}", text)


def pages() -> list[Path]:
    """The pages that have generated parts."""
    return [page for page in sorted(DOCS.rglob("*.md")) if "<!-- generated:" in page.read_text("utf-8")]


def main() -> None:
    """Write what has changed."""
    for page in pages():
        text = page.read_text("utf-8")
        if (now := filled(text)) != text:
            page.write_text(now, "utf-8")
            print(f"{page.relative_to(DOCS.parent)} is brought up to date")


if __name__ == "__main__":
    main()
