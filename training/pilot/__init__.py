"""The pilot study: which datasets, and which queries, gain from an augmentation."""
