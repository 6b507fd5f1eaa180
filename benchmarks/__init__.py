"""Measurements: each module a command, each result a JSON beside it.

python -m benchmarks.engine_vs_naive
"""

import model  # noqa: F401  before torch: it sets how long OpenMP's threads spin, as a server has it
