"""`solomon doctor` and `solomon info`."""

import json

import pytest
from typer.testing import CliRunner

from model.kernels import library
from service.app import create_app
from service.cli import app
from service.doctor.files import examine_files
from service.doctor.findings import State
from service.doctor.machine import available_memory, examine_machine
from service.doctor.serving import examine_serving, listens_at
from tests.service.test_openai import listening

NOWHERE = "http://127.0.0.1:9"


def by_subject(findings):
    return {finding.about: finding for finding in findings}


def test_this_machine_can_serve(make_settings):
    found = by_subject(examine_machine(make_settings()))
    assert found["device"].state is State.GOOD
    assert "computing in" in found["device"].found
    assert available_memory() is None or available_memory() > 0


def test_how_a_cpu_decodes_is_told(make_settings, monkeypatch):
    automatic, exact = make_settings(device="cpu"), make_settings(device="cpu", dtype="float32")
    monkeypatch.setattr(library, "instruction_set", lambda: "avx2")
    monkeypatch.setattr("model.engine.settings.instruction_set", lambda: "avx2")
    assert "avx2" in by_subject(examine_machine(automatic))["decoding"].found
    assert "SOLOMON_DTYPE" in by_subject(examine_machine(exact))["decoding"].found
    monkeypatch.setattr(library, "instruction_set", lambda: "baseline")
    monkeypatch.setattr("model.engine.settings.instruction_set", lambda: "baseline")
    assert "only baseline" in by_subject(examine_machine(automatic))["decoding"].found
    monkeypatch.setattr(library, "instruction_set", lambda: None)
    monkeypatch.setattr("model.engine.settings.instruction_set", lambda: None)
    slow = by_subject(examine_machine(automatic))["decoding"]
    assert (slow.state, "compiler" in slow.mend) == (State.NOTE, True)


def test_whether_searches_are_compiled_is_told(make_settings, monkeypatch):
    monkeypatch.setattr("index.compiled.library", lambda: object())
    assert by_subject(examine_machine(make_settings()))["search"].state is State.GOOD
    monkeypatch.setattr("index.compiled.library", lambda: None)
    slow = by_subject(examine_machine(make_settings()))["search"]
    assert (slow.state, "compiler" in slow.mend) == (State.NOTE, True)


def test_a_device_that_is_not_here_is_missing(make_settings):
    found = by_subject(examine_machine(make_settings(device="cuda:99")))
    assert found["device"].state is State.MISSING
    assert "SOLOMON_DEVICE" in found["device"].mend


def test_the_shipped_checkpoint_is_sound_and_another_folder_is_none(make_settings, tmp_path, monkeypatch):
    monkeypatch.setenv("SOLOMON_CACHE_DIR", str(tmp_path / "cache"))
    found = by_subject(examine_files(make_settings()))
    assert found["checkpoint"].state is State.GOOD
    assert found["base model"].state is State.NOTE
    assert "checkpoint base" in found["base model"].mend
    assert found["data directory"].state is State.GOOD
    broken = by_subject(examine_files(make_settings(checkpoint=tmp_path)))
    assert (broken["checkpoint"].state, "base model" in broken) == (State.MISSING, False)


def test_a_data_directory_that_cannot_be_written_is_missing(make_settings, tmp_path):
    (tmp_path / "file").write_text("")
    found = by_subject(examine_files(make_settings(data_dir=tmp_path / "file" / "data")))
    assert found["data directory"].state is State.MISSING


@pytest.fixture
def url(make_settings, open_backend):
    settings = make_settings()
    with listening(create_app(settings, open_backend(settings))) as url:
        yield url


def test_a_running_server_is_told_and_its_port_is_no_fault(make_settings, url):
    port = int(url.rpartition(":")[2])
    found = by_subject(examine_serving(make_settings(port=port), url))
    assert "serves tiny" in found["server"].found
    assert found["address"].state is State.GOOD
    slashed = by_subject(examine_serving(make_settings(port=port), f"{url}/"))
    assert slashed["address"].state is State.GOOD
    strange = by_subject(examine_serving(make_settings(port=port), NOWHERE))
    assert (strange["server"].state, strange["address"].state) == (State.NOTE, State.MISSING)


@pytest.mark.parametrize(
    ("url", "host", "port", "same"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("http://127.0.0.1:8080/", "127.0.0.1", 8080, True),
        ("http://127.0.0.1:8080/solomon", "0.0.0.0", 8080, True),
        ("http://localhost:8080", "127.0.0.1", 8080, True),
        ("http://127.0.0.1", "127.0.0.1", 80, True),
        ("http://127.0.0.1:18080", "127.0.0.1", 8080, False),
        ("http://127.0.0.2:8080", "127.0.0.1", 8080, False),
        ("http://192.0.2.1:8080", "0.0.0.0", 8080, False),
        ("http://127.0.0.1:many", "127.0.0.1", 8080, False),
        ("127.0.0.1:8080", "127.0.0.1", 8080, False),
    ],
)
def test_the_running_server_is_known_by_host_and_port(url, host, port, same):
    assert listens_at(url, host, port) is same


def test_the_command_tells_all_of_it_and_its_exit_code_says_whether_it_will_do(tmp_path, monkeypatch):
    monkeypatch.setenv("SOLOMON_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SOLOMON_PORT", "0")
    runner = CliRunner()
    well = runner.invoke(app, ["doctor", "--json", "--url", NOWHERE])
    assert well.exit_code == 0, well.output
    findings = {entry["about"]: entry for entry in json.loads(well.stdout)["findings"]}
    assert {"Python", "torch", "checkpoint", "server", "address", "extra train"} <= findings.keys()
    monkeypatch.setenv("SOLOMON_CHECKPOINT", str(tmp_path))
    ill = runner.invoke(app, ["doctor", "--url", NOWHERE])
    assert ill.exit_code == 1
    assert "missing" in ill.output
    monkeypatch.setenv("SOLOMON_PORT", "many")
    assert runner.invoke(app, ["doctor"]).exit_code == 2


def test_info_shows_what_is_served(url):
    runner = CliRunner()
    shown = json.loads(runner.invoke(app, ["info", "--url", url, "--json"]).stdout)
    assert shown["model"]["name"] == "tiny"
    assert [entry["name"] for entry in shown["collections"]] == ["default"]
    assert "64 dimensions" in runner.invoke(app, ["info", "--url", url]).stdout
    assert runner.invoke(app, ["info", "--url", NOWHERE]).exit_code == 3
