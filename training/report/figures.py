"""The report's plots, drawn from its document with matplotlib, as SVG that takes its colours from the page.

A figure is drawn in stand-in colours, which become the page's CSS variables: the same picture is then
readable on a dark page and on a light one. Figures are narrow, so that a phone shows them unreduced.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 4.4  # inches; 317 CSS pixels
# Stand-ins, which nothing else draws in, and the variables of the style sheet that replace them.
INK, MUTED, GRID = "#010101", "#020202", "#030303"
ROUTES = {"auto": "#0a0101", "embed": "#0a0202", "augment": "#0a0303"}
SERIES = ("#0b0101", "#0b0202", "#0b0303", "#0b0404", "#0b0505", "#0b0606")
NAMES = {"auto": "adaptive", "embed": "forced /embed", "augment": "forced /augment"}
_VARIABLES = {
    **{INK: "ink", MUTED: "muted", GRID: "grid"},
    **{colour: f"route-{route}" for route, colour in ROUTES.items()},
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES)},
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: selectable, and in the page's own font
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=[INK]),
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
}

Contents = Mapping[str, Any]


def score_bars(scores: Sequence[Contents]) -> str:
    """Horizontal bars of P@1 with intervals: a cluster for each dataset (or mean), a bar for each route."""
    names = list(dict.fromkeys(score["dataset"] for score in scores))
    routes = [route for route in ROUTES if any(score["route"] == route for score in scores)]
    thickness = 0.8 / len(routes)
    with rc_context(_STYLE):
        figure, axes = _figure(0.9 + (0.18 * len(routes) + 0.1) * len(names))
        for number, route in enumerate(routes):
            of_route = {score["dataset"]: score for score in scores if score["route"] == route}
            places = np.arange(len(names)) + (number - (len(routes) - 1) / 2) * thickness
            _bars(axes, places, [of_route[name] for name in names], thickness, route)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_xlabel("Precision@1, with 95 % interval")
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        _legend(figure, len(routes))
        return _svg(figure)


def quality_curve(curve: Contents) -> str:
    """P@1 against what it costs, over all thresholds: seconds a query where measured, else tokens."""
    cost, label = (
        ("seconds", "seconds a query, one at a time (estimated)")
        if "seconds" in curve
        else ("tokens", "augmentation tokens a query")
    )
    with rc_context(_STYLE):
        figure, axes = _figure(3.4)
        axes.plot(
            curve[cost], curve["precision"], color=ROUTES["auto"], linewidth=1.8, label="every threshold"
        )
        ends = (("embed", -1), ("augment", 0))
        for route, end in ends:
            axes.plot(
                curve[cost][end],
                curve["precision"][end],
                "o",
                color=ROUTES[route],
                markersize=7,
                label=NAMES[route],
            )
        _marks(axes, curve["named"], cost)
        axes.axhline(
            curve["oracle"], color=MUTED, linestyle=":", linewidth=1.2, label="best route of each query"
        )
        axes.set_xlabel(label)
        axes.set_ylabel("mean Precision@1")
        _legend(figure, 2)
        return _svg(figure)


def threshold_curve(curve: Contents) -> str:
    """P@1 and the share of augmented queries against the threshold itself."""
    with rc_context(_STYLE):
        figure, axes = _figure(3.4)
        # A step's value holds for the thresholds up to its own, from the one before.
        for column, colour, name in (
            ("precision", ROUTES["auto"], "mean Precision@1"),
            ("augmented", ROUTES["augment"], "share of queries augmented"),
        ):
            xs = np.clip([0.0, *curve["thresholds"], 1.0], 0, 1)
            ys = [curve[column][0], *curve[column], curve[column][-1]]
            axes.step(xs, ys, where="pre", color=colour, linewidth=1.6, label=name)
        _marks(axes, curve["named"], "threshold")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("threshold on P(/augment)")
        _legend(figure, 2)
        return _svg(figure)


def confidence_histogram(confidence: Contents, threshold: float) -> str:
    """P(/augment) of the queries built for either route, as shares of each kind, with the threshold."""
    edges = np.array(confidence["edges"])
    with rc_context(_STYLE):
        figure, axes = _figure(2.8)
        for route, offset in (("embed", 0.0), ("augment", 0.5)):
            counts = np.array(confidence[route], float)
            label = f"labelled /{route} ({int(counts.sum()):,} queries)"
            shares = counts / max(counts.sum(), 1)
            width = np.diff(edges) * 0.45
            axes.bar(
                edges[:-1] + np.diff(edges) * (0.05 + 0.9 * offset),
                shares,
                width,
                align="edge",
                color=ROUTES[route],
                label=label,
            )
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.2, label=f"threshold {threshold:.3f}")
        axes.set_xlim(0, 1)
        axes.set_xlabel("P(/augment)")
        axes.set_ylabel("share of that label")
        _legend(figure, 2)
        return _svg(figure)


def reliability_plot(reliability: Contents) -> str:
    """The share of right routes against the confidence in them; the area of a point is its queries."""
    bins = reliability["bins"]
    counts = np.array([one["count"] for one in bins], float)
    with rc_context(_STYLE):
        figure, axes = _figure(3.4)
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.2, label="confidence that is right")
        axes.plot(
            [one["confidence"] for one in bins],
            [one["accuracy"] for one in bins],
            color=ROUTES["auto"],
            linewidth=1,
        )
        axes.scatter(
            [one["confidence"] for one in bins],
            [one["accuracy"] for one in bins],
            s=16 + 220 * counts / counts.max(),
            color=ROUTES["auto"],
            alpha=0.75,
            label=f"bins of queries (ECE {reliability['ece']:.3f})",
            clip_on=False,
        )
        axes.set_xlim(min(0.5, *(one["low"] for one in bins)), 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("confidence in the route taken")
        axes.set_ylabel("share of right routes")
        _legend(figure, 2)
        return _svg(figure)


def latency_bars(latency: Sequence[Contents]) -> str:
    """Seconds a query by route choice, one at a time and in batches, with intervals over repetitions."""
    order = ("embed", "auto", "augment")
    with rc_context(_STYLE):
        figure, axes = _figure(0.9 + 0.85 * len(latency))
        for number, route in enumerate(order):
            rows = [
                {"precision_at_1": e["mean"], "low": e["low"], "high": e["high"]}
                for e in (entry["seconds"][route] for entry in latency)
            ]
            _bars(axes, np.arange(len(latency)) + (number - 1) * 0.27, rows, 0.27, route)
        axes.set_yticks(range(len(latency)), [entry["shape"] for entry in latency])
        axes.set_ylim(len(latency) - 0.5, -0.5)
        axes.set_xlabel("seconds a query")
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        _legend(figure, 3)
        return _svg(figure)


def group_points(groups: Sequence[Contents]) -> str:
    """Mean P@1 of each group of checkpoints: every seed a point, the interval over queries a line."""
    with rc_context(_STYLE):
        figure, axes = _figure(0.8 + 0.45 * len(groups))
        for number, one in enumerate(groups):
            colour, interval = SERIES[number % len(SERIES)], one["over_queries"]
            axes.plot([interval["low"], interval["high"]], [number, number], color=colour, linewidth=2)
            axes.plot(interval["mean"], number, "D", color=colour, markersize=7)
            axes.plot(one["by_seed"], [number + 0.22] * len(one["by_seed"]), "o", color=colour, markersize=4)
        axes.set_yticks(range(len(groups)), [one["name"] for one in groups])
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlabel("mean Precision@1")
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        return _svg(figure)


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _bars(axes: Axes, places: Any, scores: Sequence[Contents], thickness: float, route: str) -> None:
    means = np.array([score["precision_at_1"] for score in scores])
    low = means - np.array(
        [mean if s["low"] is None else s["low"] for s, mean in zip(scores, means, strict=True)]
    )
    high = (
        np.array([mean if s["high"] is None else s["high"] for s, mean in zip(scores, means, strict=True)])
        - means
    )
    axes.barh(places, means, thickness * 0.9, color=ROUTES[route], label=NAMES[route])
    axes.errorbar(
        means,
        places,
        xerr=np.maximum([low, high], 0),
        fmt="none",
        ecolor=INK,
        elinewidth=1,
        capsize=2,
        capthick=1,
    )


def _marks(axes: Axes, named: Sequence[Contents], column: str) -> None:
    """The named thresholds, in shapes that differ, for those who cannot tell the colours."""
    for one, shape, size in zip(named, ("D", "s", "^"), (9, 7, 7), strict=False):
        axes.plot(
            one[column],
            one["precision"],
            shape,
            markersize=size,
            markerfacecolor="none" if shape == "D" else SERIES[3],
            markeredgecolor=INK,
            color=INK,
            linestyle="none",
            label=f"{one['name']} ({one['threshold']:.3f})",
        )


def _legend(figure: Figure, columns: int) -> None:
    figure.legend(loc="outside upper left", ncols=columns, fontsize=8, columnspacing=1.2)


def _svg(figure: Figure) -> str:
    """The figure as an SVG element to stand in a page: no header, no fixed size, the page's colours."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', drawn, count=1
    )
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    # Names of groups recur in every figure; what is referred to has names of its own.
    drawn = re.sub(r'<g id="[^"]*"', "<g", drawn)
    drawn = re.sub(r"'[^']*', *(?:[^;\"]*)sans-serif", "system-ui, sans-serif", drawn)
    drawn = drawn.replace("xlink:href", "href")  # plain in HTML, where the prefix is not declared
    return re.sub(
        "#[0-9a-f]{6}",
        lambda match: f"var(--{_VARIABLES[match[0]]})" if match[0] in _VARIABLES else match[0],
        drawn,
    )
