import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from model.kernels.library import TILES, instruction_set
from model.native_step import StepShape
from model.tiles import TiledLinear, tiled, tiled_gate, tiles_suit
from tests.model.test_native_step import available, computing_with, torchs_threads

pytestmark = pytest.mark.skipif(instruction_set() is None, reason="no kernels are compiled here")

CPU = torch.device("cpu")
MINI = StepShape(hidden=576, intermediate=1536, heads=9, kv_heads=3, head_dim=64)


def drawn_from(seed, *sizes):
    drawn = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=drawn).bfloat16() for size in sizes]


@settings(deadline=None, max_examples=20)
@given(
    rows=st.integers(1, 100),
    panels=st.integers(1, 5),
    steps=st.integers(1, 4),
    biased=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_a_product_is_that_of_the_formula(rows, panels, steps, biased, seed):
    x, weight, bias = drawn_from(seed, (rows, 32 * steps), (32 * panels, 32 * steps), (32 * panels,))
    expected = F.linear(x.double(), weight.double(), bias.double() if biased else None)
    product = tiled(weight, bias if biased else None)
    assert (product.rows, product.columns) == weight.shape
    for name in available():
        for threads in (1, 2, 5):
            with computing_with(name), torchs_threads(threads):
                found = TiledLinear(product, threads)(x)
            assert found.dtype == torch.bfloat16
            torch.testing.assert_close(found.double(), expected, atol=1e-2, rtol=2**-8)


@settings(deadline=None, max_examples=20)
@given(rows=st.integers(1, 100), tiles=st.integers(1, 5), steps=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_a_gated_product_is_that_of_the_formula(rows, tiles, steps, seed):
    x, weight = drawn_from(seed, (rows, 32 * steps), (2 * 16 * tiles, 32 * steps))
    gates, ups = F.linear(x.double(), weight.double()).chunk(2, dim=-1)
    expected = F.silu(gates) * ups
    for name in available():
        with computing_with(name):
            found = TiledLinear(tiled_gate(weight), 2)(x)
        torch.testing.assert_close(found.double(), expected, atol=1e-2, rtol=2**-8)


@pytest.mark.parametrize("name", available())
def test_a_row_is_the_same_in_any_batch(name):
    """However many rows are with it, to the last bit: routes and vectors do not depend on who else asks."""
    x, weight = drawn_from(0, (700, 96), (64, 96))
    product = TiledLinear(tiled(weight), 2)
    with computing_with(name):
        together = product(x)
        for start, end in ((0, 1), (1, 18), (18, 51), (51, 700)):
            assert torch.equal(product(x[start:end]), together[start:end])


@pytest.mark.parametrize("name", available())
def test_what_is_not_finite_stays_in_its_row(name):
    x, weight = drawn_from(0, (20, 64), (32, 64))
    x[3, 5] = torch.nan
    with computing_with(name):
        found = TiledLinear(tiled(weight), 2)(x)
    assert found[3].isnan().all()
    assert found[[row for row in range(20) if row != 3]].isfinite().all()


def test_any_axes_stand_before_the_columns():
    x, weight = drawn_from(0, (2, 3, 64), (32, 64))
    product = TiledLinear(tiled(weight), 1)
    assert product.weights == 32 * 64
    assert torch.equal(product(x), product(x.flatten(0, 1)).view(2, 3, 32))
    assert torch.equal(product(x.transpose(0, 1)), product(x).transpose(0, 1))


def test_what_the_kernels_cannot_read_is_refused():
    product = TiledLinear(tiled(torch.zeros(32, 64)), 1)
    with pytest.raises(ValueError, match="bfloat16"):
        product(torch.zeros(3, 64))
    with pytest.raises(ValueError, match=r"\[\.\.\., 64\]"):
        product(torch.zeros(3, 32).bfloat16())


def test_they_are_chosen_where_the_processor_has_them_and_sizes_fit():
    for name in available():
        with computing_with(name):
            assert tiles_suit(MINI, torch.bfloat16, CPU) == (name == TILES)
            assert not tiles_suit(MINI, torch.float32, CPU)
            assert not tiles_suit(MINI, torch.bfloat16, torch.device("cuda"))
            narrow = StepShape(hidden=48, intermediate=96, heads=3, kv_heads=3, head_dim=16)
            assert not tiles_suit(narrow, torch.bfloat16, CPU)
