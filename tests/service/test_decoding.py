"""What decodes is told once at the start: in the log, and as a label."""

import pytest
import structlog

from model.kernels import library
from service.decoding import decoding


@pytest.mark.parametrize(
    ("compiled", "changes", "told"),
    [
        ("avx2", {"device": "cpu"}, "avx2 int8"),
        ("avx2", {"device": "cpu", "dtype": "float32"}, "torch"),
        (None, {"device": "cpu"}, "torch"),
    ],
)
def test_kernels_are_named_where_they_decode(make_settings, monkeypatch, compiled, changes, told):
    monkeypatch.setattr(library, "instruction_set", lambda: compiled)
    monkeypatch.setattr("model.engine.settings.instruction_set", lambda: compiled)
    assert decoding(make_settings(**changes)) == told


def test_the_log_and_the_build_say_what_decodes(serve):
    with structlog.testing.capture_logs() as lines, serve(device="cpu", dtype="float32") as client:
        metrics = client.get("/metrics").text
    (ready,) = (line for line in lines if line["event"] == "ready")
    assert ready["decoding"] == "torch"
    assert 'decoding="torch"' in metrics
