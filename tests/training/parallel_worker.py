"""What each of several processes does in `test_parallel.py`; started by torch's launcher.

python -m torch.distributed.run --nproc_per_node 2 -m tests.training.parallel_worker BASE DATA OUT
"""

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

from safetensors.torch import save_file

from tests.training.tiny_data import tiny_recipe
from tests.training.tiny_run import gradients, mixed_rows, stirred, tiny_run
from training.joint import Places, train
from training.parallel import Processes

RUN = {"datasets": {"cities": 1.0, "colours": 1.0}, "steps": 4, "save_every": 2, "chunk_size": 1}


def write_gradients(base, data, out, processes, name, chunk_size):
    trainer = stirred(tiny_run(base, data, out / name, replace(processes), chunk_size=chunk_size))
    figures, found = gradients(trainer, mixed_rows())
    if processes.first:
        save_file(found, out / f"{name}.safetensors")
        (out / f"{name}.json").write_text(json.dumps(asdict(figures)))


def train_whole_and_interrupted(base, data, out, processes, name):
    """The same run without a break, and stopped at its first save and taken up by a new trainer."""
    tiny_run(base, data, out / f"{name}-whole", processes, **RUN).run()
    broken = tiny_run(base, data, out / f"{name}-broken", processes, **RUN)
    broken.folder.mkdir(parents=True, exist_ok=True)
    processes.wait()
    while broken.step < 2:
        broken.train_step()
    broken._save()
    broken.train_step()  # lost: it was not saved
    tiny_run(base, data, out / f"{name}-broken", processes, **RUN).run()


def main(base, data, out):
    processes = Processes.launched("cpu")
    assert processes.count == 2
    with processes.first_alone():  # the cached features, once for all
        tiny_run(base, data, out / "first", Processes())
    write_gradients(base, data, out, processes, "ddp", None)
    write_gradients(base, data, out, processes, "ddp-chunks", 1)
    sharded = replace(processes, sharded=True)
    write_gradients(base, data, out, sharded, "fsdp", 2)
    train_whole_and_interrupted(base, data, out, processes, "ddp")
    train_whole_and_interrupted(base, data, out, sharded, "fsdp")
    os.environ["ACCELERATE_USE_FSDP"] = "true"  # as Accelerate's launcher says it
    places = Places(data, out / "launched", out / "launched-checkpoint")
    train(tiny_recipe(base, precision="fp32", **RUN), places, "cpu", lambda line: None)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
