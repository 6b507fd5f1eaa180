"""GradCache's gradients are the plain ones; the plain ones are those of the loss as it is written down."""

from dataclasses import asdict

import pytest
import torch

from tests.training.tiny_run import gradients, mixed_rows, stirred, tiny_run
from training.batches import Batch, Encoded
from training.state import trainable
from training.step import split


@pytest.fixture(scope="module")
def trainer(tiny_base, tiny_data, tmp_path_factory):
    return stirred(tiny_run(tiny_base, tiny_data, tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def plain(trainer):
    return gradients(trainer, mixed_rows())


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(gradient, expected[name], atol=1e-5 + 1e-4 * scale, rtol=1e-3, msg=name)


def test_the_plain_step_is_the_loss_as_it_is_written_down(trainer, plain):
    batch = trainer.batches.builder.build("mixed", mixed_rows())
    student = trainer.student
    student.zero_grad()
    queries, documents = student(batch.queries), student(batch.documents)
    logits = queries.pooled @ documents.pooled.T / trainer.recipe.temperature
    l_rep = torch.nn.functional.cross_entropy(logits.masked_fill(batch.masked, -torch.inf), batch.target)
    l_gen = torch.nn.functional.cross_entropy(queries.response_logits, queries.response)
    (l_rep + trainer.recipe.alpha_gen * l_gen).backward()
    figures, found = plain
    assert figures.l_rep == pytest.approx(l_rep.item(), rel=1e-5)
    assert figures.l_gen == pytest.approx(l_gen.item(), rel=1e-5)
    assert_same(found, {name: parameter.grad for name, parameter in trainable(student).items()})


@pytest.mark.parametrize("size", [1, 3, 100])
def test_chunks_change_neither_the_figures_nor_the_gradients(trainer, plain, monkeypatch, size):
    monkeypatch.setattr(trainer.joint, "chunk_size", size)
    figures, found = gradients(trainer, mixed_rows())
    expected_figures, expected = plain
    assert asdict(figures) == pytest.approx(asdict(expected_figures), rel=1e-4)
    assert_same(found, expected)
    assert any(gradient.any() for name, gradient in found.items() if ".visual.merger." in name)
    assert any(gradient.any() for name, gradient in found.items() if "trainable_tokens" in name)


def test_without_l_gen_the_gradients_differ(trainer, plain, monkeypatch):
    monkeypatch.setattr(trainer.joint, "alpha_gen", 0.0)
    _, found = gradients(trainer, mixed_rows())
    with pytest.raises(AssertionError):
        assert_same(found, plain[1])


def test_dropout_falls_alike_in_both_passes_of_a_chunk(tiny_base, tiny_data, tmp_path):
    """With the graph of the first pass or of the second, a chunk's gradient is the same."""
    trainer = stirred(tiny_run(tiny_base, tiny_data, tmp_path, lora_dropout=0.5))
    trainer.joint.chunk_size = 8
    rows = mixed_rows(4)  # fits: the first pass is kept
    kept = gradients(trainer, rows)[1]
    trainer.joint._fits = lambda batch: False
    assert_same(gradients(trainer, rows)[1], kept)
    with pytest.raises(AssertionError):
        assert_same(gradients(trainer, rows, seed=6)[1], kept)


def test_gradient_checkpointing_changes_no_gradient(tiny_base, tiny_data, tmp_path, plain):
    trainer = stirred(tiny_run(tiny_base, tiny_data, tmp_path, gradient_checkpointing=True))
    assert trainer.student.qwen.is_activation_checkpointing
    assert_same(gradients(trainer, mixed_rows())[1], plain[1])


def test_the_figures_say_how_sure_and_how_right_the_routes_are(trainer, plain):
    batch = trainer.batches.builder.build("mixed", mixed_rows())
    queries, routes = trainer.student(batch.queries), trainer.student.routes
    firsts = torch.tensor([query.response for query in batch.queries]).cumsum(0).roll(1)
    firsts[0] = 0
    pair = queries.response_logits[firsts][:, [routes.embed_id, routes.augment_id]].softmax(1)
    wanted = torch.tensor([int(bool(row.augmentation)) for row in mixed_rows()])
    assert plain[0].confidence == pytest.approx(pair.amax(1).mean().item(), rel=1e-4)
    assert plain[0].route_accuracy == (pair.argmax(1) == wanted).float().mean().item()


def test_chunks_hold_every_sequence_once_and_one_side_only():
    sides = [[Encoded([side, number], None) for number in range(count)] for side, count in enumerate((5, 7))]
    batch = Batch("set", *sides, torch.zeros(5), torch.zeros(5, 7))
    chunks = split(batch, 3, seed=1)
    assert [len(chunk.sequences) for chunk in chunks] == [3, 2, 3, 3, 1]
    assert [s for chunk in chunks for s in chunk.sequences] == sides[0] + sides[1]
    assert [chunk.generates for chunk in chunks] == [True, True, False, False, False]
    assert len({chunk.seed for chunk in chunks}) == 5
    assert [len(chunk.sequences) for chunk in split(batch, None, seed=1)] == [5, 7]


def test_a_chunk_of_wrong_answers_teaches_the_vector_alone(trainer, monkeypatch):
    builder = trainer.batches.builder
    rows = [row for row in mixed_rows(16) if row.augmentation][:6]
    monkeypatch.setattr(builder, "wrong_answers", 0.99)
    monkeypatch.setattr(trainer.joint, "chunk_size", 1)
    assert any(query.response == 0 for query in builder.build("mixed", rows).queries)
    figures, found = gradients(trainer, rows)
    assert all(torch.isfinite(gradient).all() for gradient in found.values())
    assert 0 <= figures.route_accuracy <= 1
    assert figures.l_rep > 0
    monkeypatch.setattr(trainer.joint, "alpha_gen", 0.0)
    assert any(gradient.any() for gradient in gradients(trainer, rows)[1].values())
