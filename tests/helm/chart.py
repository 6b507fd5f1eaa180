"""Runs helm on the chart."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "solomon"
FULL_NAME = "shop-solomon"


def helm(*arguments: str, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """The finished command; `values` go in by standard input."""
    executable = shutil.which("helm")
    if executable is None:
        pytest.skip("helm is not installed")
    given = ["--values", "-"] if values is not None else []
    return subprocess.run(
        [executable, *arguments, *given],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The manifests of a release called `shop`."""
    done = helm("template", "shop", str(CHART), "--namespace", "search", values=values)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest is not None]


def refusal(values: dict[str, Any]) -> str:
    """What helm says of values that it refuses."""
    done = helm("template", "shop", str(CHART), values=values)
    assert done.returncode != 0, "helm accepted the values"
    return done.stderr


def one(manifests: list[dict[str, Any]], kind: str, name: str = FULL_NAME) -> dict[str, Any]:
    """The one manifest of a kind and name."""
    (found,) = (m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)
    return found


def pod(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """The pod's specification in the workload."""
    (workload,) = (m for m in manifests if m["kind"] in ("Deployment", "StatefulSet"))
    return workload["spec"]["template"]["spec"]


def environment(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """The server's variables: their values, or where they are taken from."""
    (container,) = pod(manifests)["containers"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}
