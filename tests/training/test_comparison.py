import numpy as np
import pytest

from model.types import RouteChoice
from tests.training.report.made_up import DATASETS, evaluated
from training.catalogue import DatasetFacts
from training.comparison import differences, group, routes_of, scopes, variants
from training.scoring import ALWAYS_AUGMENT, NO_AUGMENTATION

CATALOGUE = {
    "a": DatasetFacts("vqa", "in-domain"),
    "b": DatasetFacts("vqa", "out-of-domain"),
    "c": DatasetFacts("retrieval", "in-domain"),
}


def test_scopes_by_domain_and_meta_task():
    found = {(one.kind, one.name): one.datasets for one in scopes(["a", "b", "c", "d"], CATALOGUE)}
    assert found == {
        ("overall", "all datasets"): ("a", "b", "c", "d"),
        ("domain", "in-domain"): ("a", "c"),
        ("domain", "out-of-domain"): ("b",),
        ("meta-task", "retrieval"): ("c",),
        ("meta-task", "vqa"): ("a", "b"),
    }
    assert len(scopes(["d"], CATALOGUE)) == 1


def test_groups_are_labels_and_their_runs_are_seeds():
    runs = [evaluated("x", seed=s, timed=False) for s in range(3)]
    runs.append(evaluated("never", NO_AUGMENTATION, timed=False))
    first, second = (group(variant) for variant in variants(runs))
    assert (first.name, first.route, first.seeds) == ("x", "auto", [0, 1, 2])
    assert (second.name, second.route, second.embed_share) == ("never", "embed", 1.0)
    expected = [
        np.mean([one.routed_hits(RouteChoice.AUTO, 0.5).mean() for one in run.outcomes]) for run in runs[:3]
    ]
    assert first.by_seed == pytest.approx(expected)
    assert first.over_seeds.mean == pytest.approx(np.mean(expected))
    assert first.over_queries.mean == pytest.approx(np.mean(expected))
    assert second.over_seeds.low is None


def test_a_label_cannot_hold_two_modes():
    with pytest.raises(ValueError, match="labelled 'x' differ in mode"):
        variants([evaluated("x", timed=False), evaluated("x", NO_AUGMENTATION, timed=False)])


def test_differences_are_paired_by_query_and_by_seed():
    runs = [evaluated("x", seed=s, timed=False) for s in (0, 1)]
    runs += [evaluated("never", NO_AUGMENTATION, s, timed=False) for s in (1, 0, 2)]
    first, second = variants(runs)
    within = scopes(list(DATASETS), {})
    (found,) = differences(first, second, within)
    # The same seed's outcomes: where nothing is augmented the two agree, so only the others count.
    by_seed = [
        np.mean([
            one.routed_hits(RouteChoice.AUTO, 0.5).mean() - one.routed_hits(RouteChoice.EMBED, 0.5).mean()
            for one in run.outcomes
        ])
        for run in runs[:2]
    ]  # fmt: skip
    assert found.over_seeds.mean == pytest.approx(np.mean(by_seed))
    assert found.over_queries.low <= found.over_queries.mean <= found.over_queries.high
    (back,) = differences(second, first, within)
    assert back.over_queries.mean == pytest.approx(-found.over_queries.mean)


def test_seeds_that_are_not_common_are_not_paired():
    runs = [evaluated("x", seed=s, timed=False) for s in (0, 1)]
    runs += [evaluated("always", ALWAYS_AUGMENT, s, timed=False) for s in (1, 2)]
    (found,) = differences(*variants(runs), scopes(list(DATASETS), {}))
    assert found.over_seeds is None


def test_routes_of_one_checkpoint_start_with_its_own():
    assert [one.name for one in routes_of(evaluated(timed=False))] == ["auto", "embed", "augment"]
    adaptive = routes_of(evaluated(timed=False))[0]
    (same,) = differences(adaptive, adaptive, scopes(list(DATASETS), {}))
    assert (same.over_queries.low, same.over_queries.high) == (0, 0)


def test_other_queries_cannot_be_compared():
    whole, part = evaluated(timed=False), evaluated(names=("photos", "flags"), timed=False)
    with pytest.raises(ValueError, match="not measured on the same queries"):
        differences(routes_of(whole)[0], routes_of(part)[0], scopes(["photos"], {}))
