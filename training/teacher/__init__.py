"""Synthesis of answer-style augmentations: from an endpoint, from the data, or from a Solomon model."""
