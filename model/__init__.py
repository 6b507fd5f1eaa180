"""Inputs to vectors: prompts, images, checkpoints, the decoder and the engine."""

import os

# GNU's OpenMP, which torch computes with, reads this as it is loaded: it stands before any import of torch.
# By itself a thread goes on spinning for 300,000 looks, up to 9 ms, after each parallel operation: on a core
# that another thread may need, and in CPU time that a container's quota counts. 20,000 are 0.7 ms, which
# bridges the gaps within a pass.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
