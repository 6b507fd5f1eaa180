"""Brings the generated parts of the documentation up to date: `make reference`.

A generated part of a page stands between `<!-- generated: NAME -->` and `<!-- end -->`. It is committed, so
that it can be read anywhere, and a test fails while it differs from what the code says now.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import typer

from service.app import create_app
from service.cli import app as command_line
from service.cli.plugins import GROUP
from service.settings import Settings, default_checkpoint, default_data_dir

DOCS = Path(__file__).parent.parent
RESULTS = DOCS.parent / "benchmarks" / "results"
_PART = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NO_OPTIONS = ("help", "install_completion", "show_completion")
_FACTORIES = {  # what cannot be written as a value
    default_data_dir: "`~/.local/share/solomon`",
    default_checkpoint: "the shipped `solomon-mini`",
}
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
        return _FACTORIES[field.default_factory]
    value = field.default
    if value in (None, ()):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def commands() -> str:
    """Every command, those of the training package included, with its arguments and options."""
    return "\n".join(_command(typer.main.get_command(command_line), "solomon"))


def _command(command: Any, name: str) -> Iterator[str]:
    announced = {entry.name: entry for entry in entry_points(group=GROUP)}
    entry = announced.get(name.removeprefix("solomon "))
    if entry is not None and command.context_settings.get("ignore_unknown_options"):
        command = typer.main.get_command(entry.load())
    if name != "solomon":
        yield f"### `{name}`\n\n{_prose(command.help)}\n"
        rows = [_parameter(each) for each in command.params if each.name not in _NO_OPTIONS]
        if rows:
            yield table(["", "default", "meaning"], rows)
    for child, nested in sorted(getattr(command, "commands", {}).items()):
        yield from _command(nested, f"{name} {child}")


def _prose(text: str | None) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)", " ", (text or "").strip())


def _parameter(parameter: Any) -> list[str]:
    if parameter.param_type_name == "argument":
        names = f"`{parameter.metavar or parameter.name.upper()}`"
    else:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return [names, _option_default(parameter), (parameter.help or "").strip()]


def _option_default(parameter: Any) -> str:
    if parameter.required:
        return "must be given"
    value = parameter.default
    if value is None or callable(value) or value in ((), [], ""):
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{getattr(value, 'value', value)}`".replace(str(Path.home()), "~")


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
    """What the shipped checkpoint was trained on, how, and under which licences, in its manifest's words."""
    manifest = _manifest()
    lines = []
    training = manifest["training"]
    lines += [f"- pictures are seen at {manifest['image_format']['square_side']} pixels a side"]
    if "vision_tower" in training:
        lines += [
            f"- eyes: {training['vision_tower']['network']}, frozen; trained is what merges their tokens"
        ]
    lines += [f"- {run}" for run in _runs(training)]
    for part in ("data", "splits", "calibration", "machine"):
        told = _words(training[part]) if part == "calibration" else training.get(part)
        if isinstance(told, dict):
            lines += [f"- {name}: {_words(value)}" for name, value in told.items()]
        elif told:
            lines.append(f"- {part}: {_words(told)}")
    lines += [f"- licence of {name}: {value}" for name, value in manifest["licences"].items()]
    return "\n".join(lines) + "\n"


def _runs(training: dict[str, Any]) -> list[str]:
    """The runs of training that led to a checkpoint, the first one first."""
    start = training.get("start_from")
    earlier = _runs(start["training"]) if start else []
    recipe = training["recipe"]
    said = f"{recipe['steps']} steps of {recipe['batch_size']} pairs"
    if training.get("seconds"):
        said += f" in {training['seconds'] / 60:.0f} minutes"
    datasets = ", ".join(f"{name} {share:g}" for name, share in recipe["datasets"].items())
    return [*earlier, f"run {len(earlier) + 1} of training: {said}, drawn from {datasets}"]


def benchmarks() -> str:
    """The results that are committed, each with the machine and the commit that they were measured on."""
    return "\n".join(_benchmark(path) for path in sorted(RESULTS.glob("*.json")))


def _benchmark(path: Path) -> str:
    result = json.loads(path.read_text("utf-8"))
    where = result["surroundings"]
    told = f"{where['cores']} cores ({where['cpu']}), commit {where['commit']}, {where['date'][:10]}."
    ratios = result.pop("ratios", [])
    rows = [[name, _measure(value)] for name, value in _leaves(result) if not name.startswith("surroundings")]
    parts = [f"## {path.stem}\n", f"{told}\n"]
    parts += [_targets(ratios)] * bool(ratios)
    parts += [f"![{path.stem}](images/{plot.name})\n" for plot in plots() if plot.stem == path.stem]
    figures = table(["measured", "value"], rows)
    # Closed at first: there are hundreds of them, and who wants one searches for it.
    parts += ["<details markdown><summary>All figures</summary>\n", figures, "</details>\n"]
    return "\n".join(parts)


def plots() -> list[Path]:
    """The plots among the results; pages show copies, since the site holds only what is under docs/."""
    return sorted(RESULTS.glob("*.png"))


def _targets(ratios: list[dict[str, Any]]) -> str:
    rows = [
        [
            each["name"],
            _measure(each["value"]),
            f"{each['target'][0]} {each['target'][1]}" if each.get("target") else "",
            "" if each.get("met") is None else "yes" if each["met"] else "no",
        ]
        for each in ratios
    ]
    return table(["ratio", "value", "target", "met"], rows)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every number or word of a nested result, under its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name} / {key}" if name else str(key))
    elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        for each in value:  # told apart by what they begin with: a batch, a load
            (first, told), *others = each.items()
            yield from _leaves(dict(others), f"{name} / {first} {told}")
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


def copy_of(plot: Path) -> Path:
    """Where the documentation has its copy of a plot."""
    return DOCS / "images" / plot.name


def main() -> None:
    """Write what has changed."""
    for plot in plots():
        shutil.copyfile(plot, copy_of(plot))
    for page in pages():
        text = page.read_text("utf-8")
        if (now := filled(text)) != text:
            page.write_text(now, "utf-8")
            print(f"{page.relative_to(DOCS.parent)} is brought up to date")


if __name__ == "__main__":
    main()
