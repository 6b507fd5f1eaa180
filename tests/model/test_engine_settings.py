"""What the engine's settings refuse, and what they say of it."""

from __future__ import annotations

import pytest
import torch

from model.engine.settings import EngineSettings


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_gpu_that_is_not_there_is_told_with_what_to_do():
    with pytest.raises(ValueError, match=r"'cuda'.*finds 0 CUDA devices.*leave device out"):
        EngineSettings(device="cuda")


def test_a_device_that_there_cannot_be_is_named():
    with pytest.raises(ValueError, match="device must be cpu, cuda or cuda:N, not 'gpu'"):
        EngineSettings(device="gpu")
