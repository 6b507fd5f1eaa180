"""Inputs to vectors: prompts, images, checkpoints, the decoder and the engine."""
