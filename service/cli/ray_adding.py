"""`solomon index add --engine ray`: the same job on Ray Data, with an engine in each of its actors.

The driver cuts the corpus into portions and counts what became of them; actors read, decode and embed, and
send documents with their vectors to the server. Files must lie under the same paths on every machine.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from model.installing import install_command
from service.cli.adding import make_collection
from service.cli.client import Client
from service.cli.exits import Exit, fail
from service.cli.ray_worker import Claims, CorpusWorker, EngineOpener, open_checkpoint
from service.client.configuration import API_KEY_VARIABLE
from service.client.outcomes import Failure, Outcome
from service.corpus.portions import split

PORTION = 256  # documents
_MAX_BLOCKS = 1000
_TASK_RETRIES = 3  # a portion that kills each actor that takes it ends the job


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where to run (None: a cluster that is started here), in how many actors, with which checkpoint."""

    address: str | None = None
    workers: int | None = None
    checkpoint: str | None = None


def add_with_ray(
    paths: Sequence[Path],
    collection: str,
    url: str,
    image_root: Path | None,
    cluster: Cluster,
    report: Callable[[Outcome], None],
    open_engine: EngineOpener | None = None,
) -> None:
    """Bring a corpus into a collection of the server at `url`, which every machine must reach.

    `open_engine` replaces the engine on the cluster's checkpoint.
    """
    with Client(url) as client:
        made_by = make_collection(client, collection)
    portions = [{"portion": json.dumps(asdict(part))} for part in split(paths, Path.cwd(), PORTION)]
    if not portions:
        return
    worker = {
        "open_engine": open_engine or partial(open_checkpoint, cluster.checkpoint),
        "collection": collection,
        "made_by": made_by,
        "url": url,
        "api_key": os.environ.get(API_KEY_VARIABLE),
        "image_root": image_root and image_root.absolute(),
    }
    with _connected(cluster.address) as ray:
        worker["claim"] = partial(_claim, ray.remote(num_cpus=0)(Claims).remote())
        for row in _outcomes(ray, portions, worker, cluster.workers):
            report(_outcome(json.loads(row["outcome"])))


def _claim(claims: Any, wanted: Sequence[tuple[str, str]]) -> Sequence[bool]:
    """What the actor that keeps a run's claims answers; called by the workers."""
    import ray

    answer: list[bool] = ray.get(claims.claim.remote(wanted))
    return answer


def _outcomes(
    ray: Any, portions: list[dict[str, str]], worker: dict[str, Any], workers: int | None
) -> Iterator[dict[str, Any]]:
    """Run the job; a row for each portion, as they are done. Ends the command if Ray gives up."""
    blocks = min(len(portions), _MAX_BLOCKS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray has no other place for max_task_retries
        job = ray.data.from_items(portions, override_num_blocks=blocks).map_batches(
            CorpusWorker,
            fn_constructor_kwargs=worker,
            batch_size=1,
            max_task_retries=_TASK_RETRIES,
            **_resources(ray, workers),
        )
    try:
        yield from job.iter_rows()
    except ray.exceptions.RayError as error:
        reason = str(getattr(error, "cause", None) or error).strip().splitlines()
        fail(f"The Ray job failed: {reason[-1] if reason else type(error).__name__}")


def _resources(ray: Any, workers: int | None) -> dict[str, Any]:
    """A pool of actors that fills the cluster: one a GPU, or one a machine with all of its cores."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    count = workers or gpus or len(nodes)
    pool = ray.data.ActorPoolStrategy(size=count)
    if gpus:
        return {"compute": pool, "num_gpus": min(1.0, gpus / count), "num_cpus": 1}
    cores = int(min(node.get("CPU", 1) for node in nodes))
    return {"compute": pool, "num_cpus": max(1, cores // -(-count // len(nodes)))}


def _outcome(row: dict[str, Any]) -> Outcome:
    failures = [Failure(source, reason) for source, reason in row["failures"]]
    return Outcome(row["added"], row["unchanged"], failures)


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster; one that is started here ends with the job."""
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        fail(f"--engine ray needs Ray: {install_command('ray')}", Exit.USAGE)
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(address=address, log_to_driver=False, logging_level="warning", configure_logging=True)
        except (ConnectionError, ValueError, RuntimeError) as error:
            fail(f"No Ray cluster answers at {address} ({error}).", Exit.UNREACHABLE)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()
