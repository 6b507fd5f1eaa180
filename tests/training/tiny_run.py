"""A run on the tiny model and data, in full precision so that figures can be compared."""

from itertools import chain, zip_longest

import torch

from tests.training.tiny_data import image_rows, text_rows, tiny_recipe
from training.joint import Places, build_trainer
from training.parallel import Processes
from training.state import placed_like, trainable, whole
from training.training_data import read_training_data


def tiny_run(base, data, folder, processes=None, **changes):
    """A trainer as `train` builds it."""
    recipe = tiny_recipe(base, **{"precision": "fp32", **changes})
    rows = read_training_data(data, recipe, lambda line: None)
    places = Places(data, folder, folder / "checkpoint")
    return build_trainer(recipe, places, rows, processes or Processes(), lambda line: None)


def stirred(trainer):
    """The trainer with LoRA matrices B that are not zero any more, so that all gradients count."""
    draws = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in trainable(trainer.student).items():
            if "lora_B" in name:
                drawn = torch.randn(parameter.shape, generator=draws) * 0.05
                parameter.copy_(placed_like(parameter, drawn))
    return trainer


def mixed_rows(count=8):
    """Texts with augmentations and pictures without, turn by turn: some chunks hold no image."""
    pairs = zip_longest(text_rows(), image_rows())
    return [row for row in chain.from_iterable(pairs) if row is not None][:count]


def gradients(trainer, rows, seed=5):
    """One step's figures, and the summed gradients by name (zeros where there is none)."""
    processes = trainer.processes
    batch = trainer.batches.builder.build("mixed", rows, processes.rank, processes.count)
    trainer.optimizer.zero_grad()
    figures = trainer.joint.backward(batch, seed)
    named = trainable(trainer.student)
    processes.sum_gradients(named.values())
    found = {
        name: whole(torch.zeros_like(p) if p.grad is None else p.grad).detach().clone()
        for name, p in named.items()
    }
    return figures, found
