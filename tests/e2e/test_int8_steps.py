"""Answers and vectors of the real model with int8 weights in its decode steps, beside those without."""

import json
from importlib.resources import files

import numpy as np
import pytest

from model.checkpoint import load_model
from model.encoder import DEFAULT_CHECKPOINT, Solomon
from model.engine import Engine, EngineSettings
from model.engine.runner import Runner
from model.kernels.library import instruction_set
from model.types import EmbedOptions, RouteChoice
from tests.e2e.inputs import CAPTIONS, QUESTIONS

LINES = files("training").joinpath("knowledge/questions.jsonl").read_text("utf-8").splitlines()
ASKED = [*QUESTIONS, *CAPTIONS, *(json.loads(line)["question"] for line in LINES[::40])]


@pytest.mark.skipif(instruction_set() is None, reason="the kernels are not compiled here")
def test_int8_steps_keep_answers_and_vectors(trained):
    loaded, found = load_model(DEFAULT_CHECKPOINT), []
    for int8_steps in (True, False):
        settings = EngineSettings(int8_steps=int8_steps)
        assert (Runner(loaded, settings).decoder.step_threads is not None) == int8_steps
        with Solomon(Engine(loaded, settings), {}) as model:
            found.append(model.embed(ASKED, EmbedOptions(route=RouteChoice.AUGMENT)))
    pairs = [pair for pair in zip(*found, strict=True) if pair[0].augmentation == pair[1].augmentation]
    assert len(pairs) > 0.8 * len(ASKED)  # they part where the model is unsure
    assert min(float(np.dot(int8.vector, wide.vector)) for int8, wide in pairs) > 0.999
