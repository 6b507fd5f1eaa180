"""The study as a picture: each dataset's gain with its interval, and which side of the rule it falls."""

from __future__ import annotations

from pathlib import Path

from model.types import Route
from training.pilot.split import SplitRule, Study

_COLOURS = {Route.AUGMENT: "#c2571a", Route.EMBED: "#2a6f97", None: "#8a8a8a"}
_LABELS = {
    Route.AUGMENT: "D^A: learns /augment",
    Route.EMBED: "D^E: learns /embed",
    None: "no training rows",
}


def plot_study(study: Study, rule: SplitRule, path: Path) -> None:
    """Write the picture; the path's ending chooses the format (.svg, .png, .pdf).

    Raises ValueError for an ending that matplotlib does not write.
    """
    from matplotlib.figure import Figure

    compared = sorted(study.comparisons, key=lambda one: one.gain.mean)
    routes = study.routes(rule)
    figure = Figure(figsize=(8, 1.6 + 0.32 * (len(compared) + 1)), layout="constrained")
    axes = figure.add_subplot()
    for kind, colour in _COLOURS.items():
        places = [n for n, one in enumerate(compared) if routes.get(one.dataset) is kind]
        if places:
            gains = [compared[n].gain for n in places]
            bars = [[g.mean - g.low for g in gains], [g.high - g.mean for g in gains]]
            axes.errorbar(
                [g.mean for g in gains], places, xerr=bars, fmt="o", color=colour, label=_LABELS[kind]
            )
    mean, top = study.mean.gain, len(compared)
    axes.errorbar([mean.mean], [top], xerr=[[mean.mean - mean.low], [mean.high - mean.mean]], fmt="D", c="k")
    axes.axvline(0, color="#444444", linewidth=0.8)
    if rule.margin:
        axes.axvline(rule.margin, color="#444444", linewidth=0.8, linestyle="dashed")
    axes.set_yticks(range(top + 1), [*(one.dataset for one in compared), "mean over datasets"])
    axes.set_xlabel("P@1 of AlwaysAug minus NoAug (95 % paired bootstrap)")
    axes.set_title(f"{rule.rule.value}, margin {rule.margin:g}", fontsize="medium")
    axes.legend(loc="best", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
