"""What the Dockerfile claims, as far as it can be told without a container engine.

That an image builds and runs was not tried by these tests.
"""

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from service.settings import Settings

ROOT = Path(__file__).parent.parent
TEXT = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
LINES = [line for line in re.sub(r"\\\n\s*", "", TEXT).splitlines() if line.strip()]
IGNORED = [
    line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] not in ("", "#")
]
FINAL = ("cpu", "cuda")


def stages():
    """The instructions of each stage by its name."""
    found, current = {}, None
    for line in LINES:
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            current = match[2]
            found[current] = [line]
        elif current is not None:
            found[current].append(line)
    return found


STAGES = stages()


def whole(name):
    """A stage's instructions, those of the stages that it is built on first."""
    parent = STAGES[name][0].split()[1]
    return (whole(parent) if parent in STAGES else []) + STAGES[name]


def values(lines, instruction):
    return [line.removeprefix(f"{instruction} ") for line in lines if line.startswith(f"{instruction} ")]


def in_context(path):
    """Whether the ignore file lets a path into the build: the last pattern that matches counts."""
    sent = True
    for pattern in IGNORED:
        wanted = pattern.removeprefix("!")
        parts = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
        if wanted.startswith("**/"):  # whatever folders stand before it
            parts, wanted = [Path(part).name for part in parts], wanted.removeprefix("**/")
        if any(fnmatch.fnmatch(part, wanted) for part in parts):
            sent = pattern.startswith("!")
    return sent


def test_hadolint_has_nothing_to_say():
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([linter, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("COPY")])
def test_what_is_copied_exists_and_is_sent(line):
    *sources, _ = line.split()[1:]
    if sources[0].startswith("--from="):
        assert sources[0].removeprefix("--from=") in STAGES
        return
    for source in sources:
        assert (ROOT / source).exists()
        assert in_context(source.rstrip("/"))


def test_nothing_else_is_sent():
    sent = {path.name for path in ROOT.iterdir() if in_context(path.name)}
    assert sent == {"constraints.txt", "pyproject.toml", "README.md", "LICENSE", "model", "index", "service"}
    assert not in_context("model/__pycache__")


@pytest.mark.parametrize("target", FINAL)
def test_a_target_runs_as_nobody_special_and_checks_its_health(target):
    lines = whole(target)
    assert values(lines, "USER") == ["10001:10001"]
    assert STAGES[target][-1].startswith("USER")
    assert "/readyz" in values(lines, "HEALTHCHECK")[0]
    (entry,) = (json.loads(value) for value in values(lines, "ENTRYPOINT"))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    assert entry[0] in scripts
    assert json.loads(values(lines, "CMD")[0]) == ["serve"]


def test_the_first_target_of_a_plain_build_is_the_cpu_one():
    assert list(STAGES)[-1] == "cpu"
    for name in STAGES:
        assert ("cuda" in name) == any("cuda" in line for line in STAGES[name])


@pytest.mark.parametrize("target", FINAL)
def test_its_variables_are_settings_with_valid_values(target, monkeypatch):
    variables = dict(re.findall(r"(SOLOMON_\w+)=(\S+)", " ".join(values(whole(target), "ENV"))))
    assert {"SOLOMON_DATA_DIR", "SOLOMON_HOST", "SOLOMON_CACHE_DIR"} <= set(variables)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    known = {f"SOLOMON_{field.upper()}" for field in Settings.model_fields}
    assert set(variables) - known == {"SOLOMON_CACHE_DIR"}
    assert Settings(api_keys="a-key").host == "0.0.0.0"


def test_base_images_are_pinned():
    given = dict(line.removeprefix("ARG ").split("=") for line in LINES[:1])
    assert re.fullmatch(r"3\.\d+\.\d+", given["PYTHON_VERSION"])
    outside = {line.split()[1] for lines in STAGES.values() for line in lines[:1]} - set(STAGES)
    # The larger one only compiles.
    assert outside == {"python:${PYTHON_VERSION}-slim-bookworm", "python:${PYTHON_VERSION}-bookworm"}
    assert [name for name, lines in STAGES.items() if "N}-bookworm" in lines[0]] == ["kernels"]


@pytest.mark.parametrize("target", FINAL)
def test_all_that_is_compiled_is_compiled_and_taken_over(target):
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    for module in tools["setuptools"]["ext-modules"]:
        folder = Path(module["sources"][0]).parent
        copied = [line.split()[1:] for line in STAGES["kernels"] if line.startswith("COPY")]
        for source in module["sources"]:
            given = [to for *names, to in copied for name in names if source.startswith(name)]
            assert given == [f"{folder}/"]
        assert f"COPY --from=kernels /build/{folder}/ {folder}/" in whole(target)
        assert any("ls " in line and f"{folder}/*.so" in line for line in STAGES["kernels"])


def test_the_extras_of_the_image_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    (wanted,) = re.findall(r'ARG EXTRAS="([^"]*)"', TEXT)
    assert set(wanted.split()) <= set(extras)


def test_the_requirements_of_the_image_are_those_of_the_project(tmp_path):
    (command,) = (line for line in STAGES["environment"] if "tomllib" in line)
    program = command.removeprefix('RUN python -c "').partition('" ')[0]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"EXTRAS": "otel"},
        capture_output=True,
        text=True,
        check=True,
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert done.stdout.split("\n")[:-1] == project["dependencies"] + project["optional-dependencies"]["otel"]
