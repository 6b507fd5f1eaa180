from __future__ import annotations

from collections.abc import Sequence

import pytest

from index.faiss_builds import installed_builds, mend_builds


def test_this_environment_has_one_build() -> None:
    assert len(installed_builds()) == 1
    assert mend_builds(installed_builds()) is None


def test_none_at_all_is_no_collision() -> None:
    assert mend_builds([]) is None


@pytest.mark.parametrize(
    ("builds", "kept"),
    [
        (["faiss-cpu", "faiss-gpu-cu12"], "faiss-gpu-cu12"),
        (["faiss-cpu", "other-faiss"], "faiss-cpu"),
    ],
)
def test_of_several_builds_one_is_put_back_whole(builds: Sequence[str], kept: str) -> None:
    assert mend_builds(builds, "python -m pip") == (
        f"python -m pip uninstall -y {' '.join(builds)} && python -m pip install --no-deps {kept}"
    )


def test_builds_are_found_by_the_module_that_they_bring(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"faiss": ["faiss-gpu-cu12", "faiss-cpu", "faiss-cpu"], "numpy": ["numpy"]}
    monkeypatch.setattr("index.faiss_builds.packages_distributions", lambda: found)
    assert installed_builds() == ["faiss-cpu", "faiss-gpu-cu12"]
