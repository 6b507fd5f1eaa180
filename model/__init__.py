"""Inputs to vectors: prompts, images, checkpoints, the decoder and the engine."""

import os

# GNU's OpenMP, which torch computes with, reads this as it is loaded: it stands before any import of torch.
# By itself a thread goes on spinning for 300,000 looks, up to 9 ms, after each parallel operation, on a core
# that the decode step's own threads (`model/kernels`) or another request need: a step of four rows took 1.8
# times as long. 20,000 are 0.6 ms, which bridges the gaps within a pass.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
