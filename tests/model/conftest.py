import pytest

from model.engine import Engine, EngineSettings
from tests.model.engine_probe import Recorder
from tests.model.tiny import build_tiny_model, build_tokenizer, load_tiny


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="session")
def tiny_model(tokenizer):
    return build_tiny_model(tokenizer)


@pytest.fixture
def make_engine():
    engines = []

    def make(loaded=None, **settings):
        recorder = Recorder()
        engine = Engine(loaded or load_tiny(), EngineSettings(dtype="float32", **settings), recorder)
        engines.append(engine)
        return engine, recorder

    yield make
    for engine in engines:
        engine.close()
