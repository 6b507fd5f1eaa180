"""OpenAI's Node client against `/v1`."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from service.app import create_app
from service.client import Solomon
from tests.service.images import data_uri, encoded
from tests.service.test_openai import listening

FOLDER = Path(__file__).parent.parent / "node"


@pytest.fixture
def node():
    """A command that runs a script of tests/node."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node is not installed")
    if not (FOLDER / "node_modules" / "openai").is_dir():
        pytest.skip(f"OpenAI's Node client is not installed: npm install --prefix {FOLDER}")

    def run(script, *arguments):
        command = [program, str(FOLDER / script), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_embeddings_and_models(node, make_settings, open_backend):
    settings = make_settings(api_keys="the-key")
    with listening(create_app(settings, open_backend(settings))) as url:
        got = node("embed.mjs", f"{url}/v1", "the-key", data_uri(encoded()))
        with Solomon(url, api_key="the-key") as solomon:
            expected = solomon.embed(["one", "two"]).vectors
    np.testing.assert_allclose(got["plain"], expected, atol=1e-5)
    assert (got["short"], got["pictured"]) == (8, 64)
    assert got["models"] == ["tiny", "solomon"]
    assert got["refused"] == {"kind": "NotFoundError", "code": "model_not_found"}
