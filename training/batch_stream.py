"""The batches of a run, each built in a thread while the step before it computes."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from training.batches import Batch, BatchBuilder
from training.parallel import Processes
from training.sampling import Sampler


class BatchStream:
    """This process's share of each step's batch; decoding images is the slow part of building one."""

    def __init__(self, builder: BatchBuilder, sampler: Sampler, processes: Processes) -> None:
        self.builder, self.sampler, self.processes = builder, sampler, processes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: dict[int, Future[Batch]] = {}

    def at(self, step: int) -> Batch:
        """The batch of a step. Raises what building it raised."""
        batch = self._ahead.pop(step, None) or self._thread.submit(self._build, step)
        self._ahead = {step + 1: self._thread.submit(self._build, step + 1)}
        return batch.result()

    def _build(self, step: int) -> Batch:
        dataset, rows = self.sampler.at(step)
        return self.builder.build(dataset, rows, self.processes.rank, self.processes.count)
