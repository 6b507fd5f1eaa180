import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.types import Route
from training.pilot.comparison import Comparison, PairedGain
from training.pilot.plot import plot_study
from training.pilot.split import Rule, SplitRule, Study, read_study, study_json, write_json

GAINS = (
    st.tuples(*[st.floats(-1, 1)] * 3).map(sorted).map(lambda three: PairedGain(three[1], three[0], three[2]))
)
RULES = st.sampled_from(Rule)
MARGINS = st.floats(0, 0.5)


def made(**gains):
    """A study of datasets with these gains, given as (low, mean, high)."""
    compared = [
        Comparison(name, 100, 0.5, 0.5 + mean, PairedGain(mean, low, high))
        for name, (low, mean, high) in gains.items()
    ]
    trained = [name for name in gains if name != "unseen"] + ["untested"]
    return Study(compared, Comparison("mean", 100, 0.5, 0.5, PairedGain(0, 0, 0)), trained, {"seed": 0})


STUDY = made(clear=(0.05, 0.1, 0.15), faint=(-0.01, 0.02, 0.05), bad=(-0.2, -0.1, -0.05), unseen=(0, 0.5, 1))


@pytest.mark.parametrize(
    ("rule", "margin", "augmented"),
    [
        (Rule.BETTER_OR_COMPARABLE, 0.0, {"clear", "faint"}),
        (Rule.BETTER_OR_COMPARABLE, 0.02, {"clear"}),
        (Rule.SIGNIFICANT, 0.0, {"clear"}),
        (Rule.SIGNIFICANT, 0.05, set()),
        (Rule.UNLESS_HARMFUL, 0.0, {"clear", "faint"}),
        (Rule.UNLESS_HARMFUL, 0.05, {"clear", "faint", "bad"}),
    ],
)
def test_each_rule_splits_by_its_own_end_of_the_interval(rule, margin, augmented):
    routes = STUDY.routes(SplitRule(rule, margin))
    assert routes.keys() == {"clear", "faint", "bad"}  # what has no training rows is not split
    assert {name for name, route in routes.items() if route is Route.AUGMENT} == augmented


@pytest.mark.parametrize("queries", [3, 7, 10, 30, 300, 1000])
def test_a_gain_of_just_the_margin_is_comparable_whatever_the_rounding(queries):
    rule = SplitRule(margin=1 / queries)
    for answered in range(queries):
        gain = (answered + 1) / queries - answered / queries
        assert rule.route(PairedGain(gain, gain, gain)) is Route.EMBED


@settings(deadline=None)
@given(GAINS, MARGINS)
def test_the_rules_are_ordered_by_how_much_they_ask(gain, margin):
    demanding, paper, lenient = (
        SplitRule(rule, margin).route(gain) is Route.AUGMENT
        for rule in (Rule.SIGNIFICANT, Rule.BETTER_OR_COMPARABLE, Rule.UNLESS_HARMFUL)
    )
    assert demanding <= paper <= lenient


@settings(deadline=None)
@given(RULES, GAINS, MARGINS, st.floats(0, 0.4))
def test_a_larger_gain_never_loses_its_augmentation(rule, gain, margin, more):
    larger = PairedGain(gain.mean + more, gain.low + more, gain.high + more)
    split = SplitRule(rule, margin)
    assert (split.route(gain) is Route.AUGMENT) <= (split.route(larger) is Route.AUGMENT)


def test_a_margin_is_a_difference_of_precisions():
    for margin in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="margin"):
            SplitRule(Rule.SIGNIFICANT, margin)


def test_the_file_holds_the_split_and_gives_any_other_back(tmp_path):
    path = tmp_path / "deep" / "study.json"
    write_json(path, study_json(STUDY, SplitRule(Rule.SIGNIFICANT, 0.01)))
    written = json.loads(path.read_text())
    assert (written["D^A"], written["D^E"]) == (["clear"], ["bad", "faint"])
    assert written["not_compared"] == ["untested"]
    study, rule = read_study(path)
    assert study == STUDY
    assert rule == SplitRule(Rule.SIGNIFICANT, 0.01)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format_version": 9}', '{"format_version": 1}'])
def test_another_file_is_no_study(tmp_path, content):
    path = tmp_path / "study.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="no pilot study"):
        read_study(path)


def test_the_picture_names_every_dataset(tmp_path, monkeypatch):
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")  # text as text
    plot_study(STUDY, SplitRule(margin=0.02), tmp_path / "plots" / "study.svg")
    drawn = (tmp_path / "plots" / "study.svg").read_text()
    assert all(name in drawn for name in ("clear", "faint", "bad", "unseen", "mean over datasets"))
    assert all(label in drawn for label in ("learns /augment", "learns /embed", "no training rows"))
