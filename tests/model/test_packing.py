import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.packing import Packing

CPU = torch.device("cpu")


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    extra=st.integers(0, 3),
    spare=st.none() | st.integers(0, 5),
)
def test_tokens_are_packed_in_order_and_come_back_where_they_were(lengths, extra, spare):
    longest = max(lengths) + extra
    room = None if spare is None else sum(lengths) + spare
    packing = Packing(lengths, longest, CPU, room)
    padded = torch.full((len(lengths), longest, 2), torch.nan)
    for row, length in enumerate(lengths):
        padded[row, :length] = torch.randn(length, 2)
    packed = packing.pack(padded)
    assert len(packed) == (room or sum(lengths))
    tokens = torch.cat([padded[row, :length] for row, length in enumerate(lengths)])
    assert torch.equal(packed[: len(tokens)], tokens)
    assert (packed[len(tokens) :] == tokens[-1]).all()
    again = packing.pad(packed)
    assert torch.isfinite(again).all()
    for row, length in enumerate(lengths):
        assert torch.equal(again[row, :length], padded[row, :length])
    ends = torch.tensor(lengths)[:, None] - 1
    assert torch.equal(packed[packing.places(ends)][:, 0], padded[torch.arange(len(lengths)), ends[:, 0]])
