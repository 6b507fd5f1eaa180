"""The engine: request, scheduler, runner, and the loop that ties them."""

from model.engine.engine import Engine
from model.engine.settings import EngineSettings

__all__ = ["Engine", "EngineSettings"]
