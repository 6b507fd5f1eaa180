"""A container's share of a machine decides over threads, in both versions of cgroups."""

import os

import pytest

from model.engine import EngineSettings
from model.engine.cores import usable_cores

COUNTED = {0, 1, 2, 3, 4, 5, 6, 7}


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: COUNTED, raising=False)


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("150000 100000", 2),
        ("200000 100000", 2),
        ("50000 100000", 1),
        ("6400000 100000", 8),
        ("max 100000", 8),
        ("nonsense", 8),
        ("", 8),
    ],
)
def test_a_quota_of_version_2_is_rounded_up(tmp_path, limit, cores):
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("250000", 3), ("-1", 8)])
def test_a_quota_of_version_1_is_rounded_up(tmp_path, quota, cores):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores(tmp_path) == cores


def test_without_cgroups_all_cores_of_the_process_count(tmp_path):
    assert usable_cores(tmp_path) == len(COUNTED)


def test_the_engine_heeds_the_quota_unless_told_otherwise(tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    monkeypatch.setattr("model.engine.cores.CGROUP", tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert EngineSettings().thread_count() == 2
    assert EngineSettings(threads=5).thread_count() == 5
