import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from model import linear
from model.linear import GatedLinear, Linear, kept_rows, packs

CPU = torch.device("cpu")
SIZE = st.integers(1, 40)
needs_packing = pytest.mark.skipif(not packs(CPU, torch.float32), reason="this torch has no oneDNN")


@needs_packing
@settings(deadline=None, max_examples=30)
@given(rows=SIZE, columns=SIZE, outputs=SIZE, biased=st.booleans())
@torch.inference_mode()
def test_a_packed_product_equals_torchs(rows, columns, outputs, biased):
    weight, bias = torch.randn(outputs, columns), torch.randn(outputs) if biased else None
    x, factors = torch.randn(2, rows, columns), torch.randn(2, rows, outputs)
    expected = F.linear(x, weight, bias)
    for product in (Linear(weight, bias, packed=True), Linear(weight, bias, packed=False)):
        torch.testing.assert_close(product(x), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(product.silu(x), F.silu(expected), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(product.times(x, factors), expected * factors, atol=1e-4, rtol=1e-4)


@needs_packing
@torch.inference_mode()
def test_a_gated_product_is_the_same_packed_or_not():
    weight, x = torch.randn(2 * 24, 16), torch.randn(3, 5, 16)
    gates, ups = F.linear(x, weight).chunk(2, dim=-1)
    for packed in (True, False):
        gated = GatedLinear(weight, packed)
        torch.testing.assert_close(gated(x), F.silu(gates) * ups, atol=1e-4, rtol=1e-4)
        assert gated.weights == weight.numel()


@pytest.mark.parametrize("dtype", [d for d in (torch.float32, torch.bfloat16) if packs(CPU, d)])
@torch.inference_mode()
def test_every_dtype_that_is_packed_keeps_its_dtype_and_values(dtype):
    weight, x = torch.randn(48, 32).to(dtype), torch.randn(3, 32).to(dtype)
    product, expected = Linear(weight, None, packed=True)(x), F.linear(x.float(), weight.float())
    assert product.dtype == dtype
    assert torch.cosine_similarity(product.float(), expected).min() > 0.999


def test_a_torch_without_the_operators_is_not_asked_for_them(monkeypatch):
    def missing(*arguments):
        raise AttributeError("no such operator")

    monkeypatch.setattr(linear.Linear, "__init__", missing)
    linear._packs_on_cpu.cache_clear()
    try:
        assert not packs(CPU, torch.float32)
    finally:
        monkeypatch.undo()
        linear._packs_on_cpu.cache_clear()


def test_what_onednn_does_not_compute_is_not_packed():
    assert not packs(torch.device("meta"), torch.float32)
    assert not packs(CPU, torch.float64)


def test_products_meet_few_numbers_of_rows_and_are_little_enlarged():
    met = {kept_rows(rows): rows for rows in range(1, 4097)}
    assert len([rows for rows in met if rows <= 512]) == 36
    assert len(met) == 36 + 3 * 16
    for rows in range(1, 4097):
        kept = kept_rows(rows)
        assert 0 <= kept - rows <= (7 if rows <= 64 else max(15, rows // 16))
        assert kept_rows(kept) == kept
