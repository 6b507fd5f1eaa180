"""What tests of the engine's loop watch it with."""

from model.types import EmbedOptions, Item, RouteChoice

AUGMENT = EmbedOptions(route=RouteChoice.AUGMENT)
EMBED = EmbedOptions(route=RouteChoice.EMBED)
LONG = "foo bar"  # with the tiny model, an answer that uses its whole budget


class Recorder:
    """An observer that keeps every step and may act on it."""

    def __init__(self):
        self.steps = []
        self.admitted = []
        self.act = None

    def on_step(self, phase, batch_size, seconds):
        self.steps.append((phase, batch_size))
        if self.act:
            self.act(phase)

    def on_admitted(self, queue_seconds):
        self.admitted.append(queue_seconds)


def held(engine):
    """While this lock is held the engine takes nothing from its queue; submitting still works."""
    return engine._scheduler._changed


def settle(engine):
    """Let the turn after the latest event pass."""
    engine.embed([Item(text="settle")], EMBED)
    engine.embed([Item(text="settle")], EMBED)
