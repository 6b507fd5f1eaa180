import json
import logging

import pytest
import structlog

from service.logs import configure_logging


@pytest.fixture
def _log_restored():
    root, configuration = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    structlog.reset_defaults()
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**configuration)


@pytest.mark.usefixtures("_log_restored")
@pytest.mark.parametrize("style", ["json", "console"])
def test_a_trace_has_no_local_variables(capsys, style):
    configure_logging("info", style)
    key = "".join(["hush", "-", "key"])
    try:
        raise ValueError("what went wrong" + key[:0])
    except ValueError:
        structlog.get_logger("test").exception("event")
        logging.getLogger("a.library").exception("event")
    written = capsys.readouterr().err
    assert written.count("what went wrong") >= 2
    assert "test_a_trace_has_no_local_variables" in written
    assert "hush-key" not in written
    if style == "json":
        assert [json.loads(line)["event"] for line in written.splitlines()] == ["event", "event"]
