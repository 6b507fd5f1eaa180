"""The recipe that produces a checkpoint: data, losses, trainer and evaluation."""
