"""The document holds the numbers, and the page shows them without asking anyone else for anything."""

import json
import re
from html.parser import HTMLParser

import pytest

from model.installing import install_command
from tests.training.report.made_up import DATASETS, evaluated, write_folder
from training.report import contents, write_report, writing
from training.scores import score_outcomes
from training.scoring import ALWAYS_AUGMENT, NO_AUGMENTATION

VOID = {"meta", "link", "img", "br", "hr", "input"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("made-up"))


@pytest.fixture(scope="module")
def runs():
    modes = (("adaptive", "adaptive"), ("NoAug", NO_AUGMENTATION), ("AlwaysAug", ALWAYS_AUGMENT))
    return [evaluated(label, mode, seed) for label, mode in modes for seed in (0, 1)]


@pytest.fixture(scope="module")
def written(runs, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "new"
    numbers, page = write_report(contents(runs, data), folder)
    return json.loads(numbers.read_text("utf-8")), page.read_text("utf-8")


class Structure(HTMLParser):
    """Whether every element is closed where it should be, and what the page refers to."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.references, self.figures = [], [], [], 0

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.figures += tag == "svg"
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.references += [values[name] for name in ("src", "href", "srcset", "data") if name in values]

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_document_holds_every_score_unrounded(written, runs):
    document, _ = written
    for described, run in zip(document["checkpoints"], runs, strict=True):
        expected = [
            score_outcomes(outcomes, choice, run.threshold).precision_at_1
            for outcomes in run.outcomes
            for choice in run.candidate.choices
        ]
        assert [score["precision_at_1"] for score in described["scores"]] == expected
    overall = document["checkpoints"][0]["means"][0]
    of_auto = [s["precision_at_1"] for s in document["checkpoints"][0]["scores"] if s["route"] == "auto"]
    assert overall["precision_at_1"] == pytest.approx(sum(of_auto) / len(DATASETS))
    assert (overall["dataset"], overall["datasets"]) == ("all datasets", len(DATASETS))


def test_the_named_thresholds_lie_on_the_curve(written):
    first = written[0]["checkpoints"][0]
    named = {one["name"]: one for one in first["curve"]["named"]}
    assert set(named) == {"in use", "most right routes", "best P@1"}
    overall = {mean["route"]: mean for mean in first["means"] if mean["kind"] == "overall"}
    assert named["in use"]["precision"] == pytest.approx(overall["auto"]["precision_at_1"])
    assert named["in use"]["augmented"] == pytest.approx(1 - overall["auto"]["embed_share"])
    assert first["curve"]["precision"][0] == pytest.approx(overall["augment"]["precision_at_1"])
    assert first["curve"]["precision"][-1] == pytest.approx(overall["embed"]["precision_at_1"])
    assert first["curve"]["seconds"][0] == pytest.approx(0.4)
    assert first["curve"]["seconds"][-1] == pytest.approx(0.1)


def test_the_histogram_counts_every_query_under_its_label(written):
    document, _ = written
    confidence = document["checkpoints"][0]["confidence"]
    labelled = {"augment": 0, "embed": 0}
    for facts in document["datasets"].values():
        labelled["augment"] += round(facts["queries"] * facts["augment_share"])
        labelled["embed"] += round(facts["queries"] * (1 - facts["augment_share"]))
    assert {route: sum(confidence[route]) for route in labelled} == labelled


def test_the_comparison_has_every_pair_in_every_scope(written):
    document, _ = written
    assert [one["name"] for one in document["comparison"]["groups"]] == ["adaptive", "NoAug", "AlwaysAug"]
    assert len(document["comparison"]["differences"]) == 3 * len(document["scopes"])
    assert all(one["over_seeds"] for one in document["comparison"]["differences"])


def test_the_provenance_is_there(written):
    document, page = written
    assert re.fullmatch("[0-9a-f]{40}[+]?", document["commit"] or "0" * 40)
    assert {"python", "torch", "cores"} <= set(document["machine"])
    for facts in document["datasets"].values():
        assert facts["sha256"][:16] in page
        assert facts["source"] == "made up"


def test_the_page_is_well_formed_and_refers_to_nothing_outside(written):
    _, page = written
    structure = Structure()
    structure.feed(page)
    assert structure.open == []
    assert structure.figures == 1 + 2 * 7 + 4 * 2
    assert all(reference.startswith("#") for reference in structure.references)
    assert {reference[1:] for reference in structure.references} <= set(structure.ids)
    assert len(structure.ids) == len(set(structure.ids))
    style = re.search("<style>(.*?)</style>", page, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in page
    assert not re.search(r"<script|https?://(?!www\.w3\.org/)", page)


def test_every_colour_of_a_figure_is_the_pages(written):
    _, page = written
    figures = "".join(re.findall("<svg.*?</svg>", page, re.DOTALL))
    assert set(re.findall("#[0-9a-f]{6}(?![0-9a-z])", figures)) == set()
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", page))
    style = re.search("<style>(.*?)</style>", page, re.DOTALL)[1]
    light, dark = style.split("prefers-color-scheme: dark")
    assert all(f"{name}:" in light and f"{name}:" in dark for name in used)
    assert {"--route-auto", "--route-embed", "--route-augment"} <= used


def test_the_page_shows_the_numbers(written):
    document, page = written
    text = re.sub("<[^>]*>", " ", page)
    for score in document["checkpoints"][0]["scores"]:
        assert f"{score['precision_at_1']:.3f} [{score['low']:.3f}, {score['high']:.3f}]" in text
    difference = document["comparison"]["differences"][0]["over_queries"]["mean"]
    assert f"{100 * difference:+.1f}".replace("-", "−") in text


def test_names_cannot_put_markup_into_the_page(data, tmp_path):
    run = evaluated("<script>alert(1)</script>", timed=False)
    _, page = write_report(contents([run], data), tmp_path)
    assert "<script" not in page.read_text("utf-8")


def test_a_checkpoint_alone_without_latency_or_calibration(data, tmp_path):
    import dataclasses

    run = dataclasses.replace(evaluated(timed=False), calibration=None)
    document = contents([run], data)
    assert document["comparison"] is None
    assert [one["name"] for one in document["checkpoints"][0]["curve"]["named"]] == ["in use"]
    assert "augmentation tokens a query" in write_report(document, tmp_path)[1].read_text("utf-8")


def test_no_checkpoint_is_an_error(data):
    with pytest.raises(ValueError, match="at least one evaluated checkpoint"):
        contents([], data)


def test_what_is_not_installed_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(writing.ReportError, match=f"needs matplotlib: {re.escape(install_command('train'))}"):
        writing.require_plots()
