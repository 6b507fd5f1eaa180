"""`solomon doctor` on builds of FAISS that exclude each other."""

from __future__ import annotations

import shlex
import sys

import pytest

from service.doctor.extras import examine_faiss
from service.doctor.findings import State


def test_one_build_is_good() -> None:
    [finding] = examine_faiss()
    assert (finding.state, finding.found, finding.mend) == (State.GOOD, "faiss-cpu", None)


def test_two_builds_are_named_with_what_mends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.doctor.extras.installed_builds", lambda: ["faiss-cpu", "faiss-gpu-cu12"])
    [finding] = examine_faiss()
    assert finding.state is State.MISSING
    assert "faiss-cpu and faiss-gpu-cu12" in finding.found
    python = shlex.quote(sys.executable)
    assert finding.mend == (
        f"{python} -m pip uninstall -y faiss-cpu faiss-gpu-cu12 && "
        f"{python} -m pip install --no-deps faiss-gpu-cu12"
    )
