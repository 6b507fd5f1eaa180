"""Rows put into the results are peft's rows put into the matrix: same vectors, logits and gradients."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional as F

from training.lora_projection import FusedLora
from training.route_rows import embed_tokens, token_logits

LEARNT = [7, 3]


class Tied(nn.Module):
    """Word vectors, a projection, and logits by the same matrix."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.config = {"tie_word_embeddings": tied, "model_type": "custom"}
        self.embed_tokens = nn.Embedding(11, 6)
        self.projection = nn.Linear(6, 6, bias=True)
        self.lm_head = nn.Linear(6, 11, bias=False)
        if tied:
            self.lm_head.weight = self.embed_tokens.weight
            self._tied_weights_keys = {"lm_head.weight": "embed_tokens.weight"}

    def get_input_embeddings(self) -> nn.Module:
        return self.embed_tokens


def adapted(fused: bool, tied: bool, dropout: float = 0.0):
    torch.manual_seed(0)
    model = Tied(tied)
    matrices = ["embed_tokens"] if tied else ["embed_tokens", "lm_head"]
    config = LoraConfig(
        r=2,
        lora_alpha=6,
        lora_dropout=dropout,
        target_modules=["projection"],
        trainable_token_indices=dict.fromkeys(matrices, LEARNT),
    )
    if fused:
        config._register_custom_module({nn.Linear: FusedLora})
    wrapped = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if parameter.requires_grad and "trainable_tokens" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
            elif parameter.requires_grad:  # away from the rows of the matrix
                parameter.add_(1.0)
    return wrapped


def gradients(model):
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("tied", [True, False])
def test_vectors_logits_and_gradients_are_pefts(tied):
    ids = torch.tensor([[7, 1, 3, 3], [0, 7, 10, 2]])
    # In double precision, as gradients of tens of thousands differ in their last float32 digits by processor.
    theirs, ours = adapted(False, tied).double(), adapted(True, tied).double()

    base = theirs.get_base_model()
    their_hidden = base.projection(base.embed_tokens(ids))
    head = base.lm_head if not tied else base.embed_tokens
    their_logits = F.linear(their_hidden[:, -1], head.weight)
    (their_logits.square().sum() + their_hidden.sin().sum()).backward()

    base = ours.get_base_model()
    assert isinstance(base.projection, FusedLora)
    hidden = base.projection(embed_tokens(base.embed_tokens, ids))
    logits = token_logits(base.lm_head if not tied else base.embed_tokens, hidden[:, -1])
    (logits.square().sum() + hidden.sin().sum()).backward()

    torch.testing.assert_close(hidden, their_hidden)
    torch.testing.assert_close(logits, their_logits)
    found = gradients(ours)
    assert found.keys() == gradients(theirs).keys()
    for name, gradient in gradients(theirs).items():
        assert gradient.abs().sum() > 0, name
        torch.testing.assert_close(found[name], gradient, msg=name)


def test_disabled_and_merged_layers_are_left_to_peft():
    model = adapted(True, True)
    layer = model.get_base_model().projection
    x = torch.randn(3, 6)
    plain, whole = layer.base_layer(x), layer(x)
    assert not torch.allclose(plain, whole)
    with model.disable_adapter():
        torch.testing.assert_close(layer(x), plain)
    layer.merge()
    torch.testing.assert_close(layer(x), whole)


def test_under_autocast_it_is_pefts_layer_up_to_rounding():
    theirs = adapted(False, True).get_base_model().projection
    ours = adapted(True, True).get_base_model().projection
    results = []
    for layer in (theirs, ours):
        x = torch.randn(5, 6, generator=torch.Generator().manual_seed(2)).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(x)
        assert out.dtype is torch.bfloat16
        out.float().sin().sum().backward()
        results.append([out.float(), x.grad, layer.lora_A["default"].weight.grad])
    for expected, found in zip(*results, strict=True):
        assert (found - expected).norm() < 0.02 * expected.norm()


def test_dropout_is_on_the_low_rank_part_alone():
    layer = adapted(True, True, dropout=0.5).get_base_model().projection
    x = torch.ones(400, 6)
    torch.manual_seed(0)
    dropped = layer(x)
    torch.manual_seed(0)
    low = layer.lora_dropout["default"](x) @ layer.lora_A["default"].weight.t()
    expected = layer.base_layer(x) + 3 * low @ layer.lora_B["default"].weight.t()
    torch.testing.assert_close(dropped, expected)
    assert dropped.std(0).min() > 0
