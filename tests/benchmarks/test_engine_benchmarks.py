"""The benchmarks run, on a model so small that their figures mean nothing, and say what they measured."""

import json
import math

import numpy as np
import pytest
import torch

from benchmarks import (
    engine_vs_naive,
    machine_limits,
    open_loop,
    reporting,
    running,
    shapes,
    step_products,
    summary,
    workload,
)
from benchmarks.naive_pipeline import NaivePipeline
from benchmarks.reporting import Ratio, ratio_rows
from model.engine import Engine, EngineSettings
from model.types import EmbedOptions, Route, RouteChoice

SETTINGS = EngineSettings(dtype="float32", device="cpu", threads=1)


@pytest.fixture(scope="module")
def loaded():
    return shapes.load_shape("tiny", SETTINGS)


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(reporting, "RESULTS", tmp_path)
    monkeypatch.setattr(open_loop, "RESULTS", tmp_path)
    monkeypatch.setattr(summary, "RESULTS", tmp_path)
    return lambda name: json.loads((tmp_path / f"{name}.json").read_text())


def test_the_workload_is_mixed_and_repeatable():
    queries = workload.mixed(60, trained=False)
    assert queries == workload.mixed(60, trained=False)
    counts = {kind: sum(query.kind == kind for query in queries) for kind in workload.SHARES}
    assert counts == {"caption": 24, "question": 20, "picture": 16}
    assert {query.threshold for query in queries if query.kind == "question"} == {0.0}
    assert {query.threshold for query in workload.mixed(60, trained=True)} == {None}
    assert len(set(queries)) == len(queries)


def test_the_naive_pipeline_gives_what_the_engine_gives(loaded):
    queries = workload.mixed(12, trained=False)
    pipeline = NaivePipeline(loaded, batch_size=5, answer_tokens=4)
    engine = Engine(loaded, SETTINGS)
    for route in (RouteChoice.AUTO, RouteChoice.AUGMENT, RouteChoice.EMBED):
        naive = pipeline.run(queries, route)
        for query, result in zip(queries, naive, strict=True):
            [ours] = engine.embed([query.item], query.options(route, 4))
            assert ours.route is result.route
            assert ours.augment_tokens == len(result.answer_ids)
            np.testing.assert_allclose(ours.vector, result.vector, atol=1e-4)
        if route is RouteChoice.AUTO:
            assert {result.route for result in naive} == set(Route)
    engine.close()


def test_the_bare_pass_is_the_same_prompt_pooled_at_eos(loaded):
    preparer = engine_vs_naive.Preparer(loaded, SETTINGS)
    runner = engine_vs_naive.Runner(loaded, SETTINGS)
    items = workload.captions()[:3]
    requests = [preparer.prepare(item, EmbedOptions(), None) for item in items]
    with torch.inference_mode():
        vectors = engine_vs_naive.bare_pass(runner, requests)
        for request, vector in zip(requests, vectors, strict=True):
            ids = torch.tensor([[*request.ids, loaded.routes.eos_id]])
            hidden = loaded.model.model(input_ids=ids).last_hidden_state[0, -1]
            np.testing.assert_allclose(vector, hidden / hidden.norm(), atol=1e-4)


def test_engine_against_naive(results):
    engine_vs_naive.main(
        shape="tiny", queries=12, callers=4, answer_tokens=3, turns=2, rounds=1, device="cpu"
    )
    found = results("engine_vs_naive-tiny")
    assert found["augmented_share"] == pytest.approx(1 / 3)
    assert found["agreement"]["same_route"] == 1.0
    assert found["agreement"]["median_cosine"] > 0.999
    assert len(found["ratios"]) in (3, 4)  # one is left out where forced augmentation happens to cost nothing
    assert all(ratio["value"] > 0 for ratio in found["ratios"] if "extra" not in ratio["name"])


def test_machine_limits(results):
    machine_limits.main(shape="tiny", length=8, rounds=1, device="cpu")
    found = results("machine_limits-tiny")
    assert found["gemm_flops"] > 0
    assert found["bandwidth_bytes_per_second"] > 0
    assert [ratio["target"] for ratio in found["ratios"]] == [[">=", 0.7], [">=", 0.6], ["<=", 0.5]]


def test_open_loop(results, tmp_path):
    open_loop.main(shape="tiny", seconds=0.2, loads="0.5", probe=8, answer_tokens=2, device="cpu")
    found = results("open_loop-tiny")
    assert set(found["policies"]) == set(open_loop.POLICIES)
    shares = [point["share"] for point in found["policies"]["adaptive"]["loads"]]
    assert shares == [0.5, 0.7]
    assert (tmp_path / "open_loop-tiny.png").stat().st_size > 1000
    table = "\n".join(summary.table({"open_loop-tiny": found}))
    assert found["surroundings"]["commit"] in table


def test_a_failure_of_a_caller_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        running.closed_loop([1, 0, 1], lambda value: 1 / value, 2)


def test_results_of_a_closed_loop_are_in_order():
    loop, results = running.closed_loop(list(range(20)), lambda value: value * value, 3)
    assert results == [value * value for value in range(20)]
    assert len(loop.latencies) == 20


def test_ratios_say_whether_their_target_is_met():
    rows = ratio_rows([Ratio("a", 1.0, ("<=", 1.1)), Ratio("b", 1.0, (">=", 1.1)), Ratio("c", 1.0)])
    assert [row["met"] for row in rows] == [True, False, None]


def test_the_summary_is_what_the_files_say():
    found = {
        "surroundings": {"cpu": "A CPU", "cores": 2, "commit": "abc", "date": "2026-01-01T00:00:00+00:00"},
        "ratios": ratio_rows([Ratio("speed", 3.14159, (">=", 3.0))]),
    }
    page = f"before\n{summary.BEGIN}\nold\n{summary.END}\nafter\n"
    once = summary.rendered(page, {"name": found})
    assert "| name | speed | 3.14 | >= 3, met | A CPU, 2 cores,  | abc, 2026-01-01 |" in once
    assert "old" not in once
    assert summary.rendered(once, {"name": found}) == once
    with pytest.raises(ValueError, match="marks"):
        summary.rendered("no marks", {})


def test_the_summary_tells_what_a_fault_scenario_saw_and_missed():
    at = {"cpu": "A CPU", "cores": 2, "commit": "abc", "date": "2026-01-01T00:00:00+00:00"}
    seen = {"scenario": "soak", "calls": 7, "statuses": {"200": 7}, "files": [9, 9], "missed": [], "late": []}
    late = {**seen, "scenario": "overload", "late": ["recovery within 5 s"]}
    page = f"{summary.FAULTS_BEGIN}\nold\n{summary.FAULTS_END}\n"
    results = {name: {"surroundings": at, "model": "tiny", **row} for name, row in (("a", seen), ("b", late))}
    once = summary.rendered_faults(page, results)
    assert (
        "| soak | calls 7; statuses 200: 7; files 9 to 9 | met | A CPU, 2 cores | abc, 2026-01-01 |" in once
    )
    assert "**missed**: recovery within 5 s" in once
    assert "old" not in once


def test_the_page_has_the_marks():
    page = summary.PAGE.read_text("utf-8")
    assert summary.BEGIN in page
    assert summary.FAULTS_BEGIN in page


def test_every_product_of_a_step_is_near_float32():
    found = step_products.measure(out=64, width=32, rows=4, rounds=1, copies_bytes=2**15)
    assert {"float32", "bfloat16", "int8"} <= set(found)
    assert all(way["microseconds"] > 0 for way in found.values())
    assert all(abs(way["distance"]) < 1e-3 for way in found.values())


def test_percentiles_are_milliseconds():
    found = running.percentiles([0.1] * 99 + [1.0])
    assert (found["p50_ms"], found["count"]) == (100.0, 100)
    assert math.isclose(found["mean_ms"], 109.0)
