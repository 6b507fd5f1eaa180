import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.losses import GenerationLoss, RepresentationLoss, false_negative_mask

KEYS = st.sampled_from(["", "cat", "dog", "sea"])


def unit(*shape):
    return torch.nn.functional.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(5)), dim=-1
    )


def info_nce(queries, documents, target, masked, temperature):
    """The definition, one exponential after the other."""
    losses = []
    for q, query in enumerate(queries):
        terms = [
            math.exp(float(query @ document) / temperature)
            for d, document in enumerate(documents)
            if not masked[q][d]
        ]
        losses.append(-math.log(math.exp(float(query @ documents[target[q]]) / temperature) / sum(terms)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.03, 0.5])
def test_infonce_equals_its_definition(temperature):
    queries, documents = unit(3, 8), unit(5, 8).flip(1)
    target = torch.tensor([0, 2, 4])
    masked = torch.zeros(3, 5, dtype=torch.bool)
    masked[0, 1] = masked[2, 3] = True
    loss = RepresentationLoss(temperature)(queries, documents, target, masked)
    assert loss.item() == pytest.approx(info_nce(queries, documents, target, masked, temperature), rel=1e-4)


def test_matryoshka_is_the_weighted_mean_over_prefixes_of_unit_length():
    queries, documents = unit(3, 8), unit(5, 8).flip(1)
    target, masked = torch.tensor([0, 2, 4]), torch.zeros(3, 5, dtype=torch.bool)
    loss = RepresentationLoss(0.1, {2: 1.0, 8: 3.0})(queries, documents, target, masked)
    short = [torch.nn.functional.normalize(vectors[:, :2], dim=-1) for vectors in (queries, documents)]
    parts = [info_nce(*pair, target, masked, 0.1) for pair in (short, (queries, documents))]
    assert loss.item() == pytest.approx((parts[0] + 3 * parts[1]) / 4, rel=1e-4)


def test_a_masked_document_neither_counts_nor_learns():
    queries, documents = unit(2, 8), unit(3, 8).flip(0).clone().requires_grad_()
    masked = torch.tensor([[False, False, True], [False, False, True]])
    loss = RepresentationLoss()(queries, documents, torch.tensor([0, 1]), masked)
    loss.backward()
    assert not documents.grad[2].any()
    assert documents.grad[:2].any()
    without = RepresentationLoss()(queries, documents[:2], torch.tensor([0, 1]), masked[:, :2])
    assert loss.item() == pytest.approx(without.item())


@pytest.mark.parametrize("temperature", [0, -0.1])
def test_a_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        RepresentationLoss(temperature)


def test_generation_loss_is_the_mean_negative_log_likelihood():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    expected = (-math.log(math.e**2 / (math.e**2 + 1 + math.e**-1)) + math.log(3)) / 2
    assert GenerationLoss()(logits, torch.tensor([0, 2])).item() == pytest.approx(expected, rel=1e-5)


@given(st.data())
def test_false_negatives_are_the_same_key_elsewhere(data):
    documents = data.draw(st.lists(KEYS, min_size=1, max_size=8))
    target = data.draw(st.lists(st.integers(0, len(documents) - 1), min_size=1, max_size=6))
    queries = [documents[place] for place in target]
    masked = false_negative_mask(torch.tensor(target), queries, documents)
    assert masked.shape == (len(queries), len(documents))
    for q, query in enumerate(queries):
        for d, document in enumerate(documents):
            assert bool(masked[q, d]) == (query != "" and query == document and d != target[q])


def test_a_querys_key_that_no_document_has_masks_nothing():
    masked = false_negative_mask(torch.tensor([0]), ["cat"], ["", "dog"])
    assert not masked.any()
