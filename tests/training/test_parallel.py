"""Two processes do what one does: same losses, same gradients, same training, under DDP and under FSDP."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.checkpoint import verify
from tests.training.parallel_worker import RUN
from tests.training.tiny_data import text_rows
from tests.training.tiny_run import gradients, mixed_rows, stirred, tiny_run
from training.batches import Encoded
from training.state import stored_facts
from training.trainer import STATE

pytestmark = pytest.mark.timeout(900)  # three interpreters load torch: quick unless all is busy


@pytest.fixture(scope="module")
def launched(tiny_base, tiny_data, tmp_path_factory):
    """What two processes wrote, joined by gloo."""
    out = tmp_path_factory.mktemp("two")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    worker = ["-m", "tests.training.parallel_worker", str(tiny_base), str(tiny_data), str(out)]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run([*launch, *worker], cwd=root, env=environment, capture_output=True, timeout=800)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    return out


@pytest.fixture(scope="module")
def alone(tiny_base, tiny_data, tmp_path_factory):
    trainer = stirred(tiny_run(tiny_base, tiny_data, tmp_path_factory.mktemp("alone")))
    return gradients(trainer, mixed_rows())


@pytest.mark.parametrize("name", ["ddp", "ddp-chunks", "fsdp"])
def test_the_loss_and_its_gradients_are_the_single_processes(launched, alone, name):
    figures, expected = alone
    assert json.loads((launched / f"{name}.json").read_text()) == pytest.approx(asdict(figures), rel=1e-4)
    found = load_file(launched / f"{name}.safetensors")
    assert found.keys() == expected.keys()
    for key, gradient in found.items():
        scale = expected[key].abs().max().item()
        torch.testing.assert_close(gradient, expected[key], atol=1e-5 + 1e-4 * scale, rtol=1e-3, msg=key)


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_an_interrupted_run_ends_where_an_unbroken_one_does(launched, name):
    whole, broken = (launched / f"{name}-{kind}" / STATE for kind in ("whole", "broken"))
    assert stored_facts(whole)["step"] == stored_facts(broken)["step"] == 4
    expected, found = load_file(whole), load_file(broken)
    assert found.keys() == expected.keys()
    assert any(key.startswith("optimizer/exp_avg/") for key in found)
    assert all(torch.equal(found[key], expected[key]) for key in found)


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_two_processes_train_as_one_and_one_goes_on_from_their_state(
    launched, tiny_base, tiny_data, tmp_path, name
):
    single = tiny_run(tiny_base, tiny_data, tmp_path, **RUN)
    single.run()
    expected, found = load_file(tmp_path / STATE), load_file(launched / f"{name}-whole" / STATE)
    assert found.keys() == expected.keys()
    log = [
        [json.loads(line)["l_rep"] for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (tmp_path, launched / f"{name}-whole")
    ]
    assert len(log[0]) == RUN["steps"]
    assert log[1] == pytest.approx(log[0], rel=1e-2)
    resumed = tiny_run(tiny_base, tiny_data, launched / f"{name}-whole", **RUN)
    resumed.run()
    assert resumed.step == RUN["steps"]


def test_a_sharded_run_exports_the_whole_adapter(launched):
    checkpoint = launched / "launched-checkpoint"
    assert verify(checkpoint).training["machine"]["processes"] == 2
    adapter = load_file(checkpoint / "adapter_model.safetensors")
    state = load_file(launched / "launched" / STATE)
    matrices = [key for key in adapter if "lora_" in key]
    assert len(matrices) == sum("parameter/" in key and "lora_" in key for key in state) > 0
    for key in matrices:
        learned = state[f"parameter/peft_model.{key}".replace(".weight", ".default.weight")]
        assert torch.equal(adapter[key], learned.to(torch.bfloat16))


def test_a_batch_that_does_not_divide_names_the_field(tiny_base, tiny_data, tmp_path):
    builder = tiny_run(tiny_base, tiny_data, tmp_path).batches.builder
    with pytest.raises(ValueError, match="make batch_size a multiple of 3"):
        builder.build("cities", text_rows(), rank=0, processes=3)


def test_shares_are_equally_long_and_hold_the_whole_batch_in_order(tiny_base, tiny_data, tmp_path):
    builder = tiny_run(tiny_base, tiny_data, tmp_path).batches.builder
    rows = text_rows()[:6]  # six queries, seven documents
    whole = builder.build("cities", rows)
    shares = [builder.build("cities", rows, rank, 3) for rank in range(3)]
    assert [query for share in shares for query in share.queries] == whole.queries
    documents: list[Encoded] = [document for share in shares for document in share.documents]
    assert documents[: len(whole.documents)] == whole.documents
    assert len(whole.documents) == 7
    assert {len(share.documents) for share in shares} == {3}
    assert all(torch.equal(share.masked, whole.masked) for share in shares)
