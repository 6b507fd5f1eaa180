import pytest

from tests.model.tiny_base import save_tiny_base
from tests.training.tiny_data import write_data


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """The folder of a tiny random Qwen2-VL with tied embeddings."""
    return save_tiny_base(tmp_path_factory.mktemp("base") / "tiny-qwen2-vl")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """The folder of a small data set with texts and pictures."""
    return write_data(tmp_path_factory.mktemp("data"))
