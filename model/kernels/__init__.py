"""A decode step in C, for CPUs. `kernels.h` says what it takes; `model/native_step.py` calls it."""
