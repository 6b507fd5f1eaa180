"""One layer's weights, copied out of transformers' model: projections that share an input are joined."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLDecoderLayer

from model.linear import GatedLinear, Linear
from model.native_step import StepLayer, quantised
from model.rope import pair_rows


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer's weights, projections that share an input joined; norms are float32."""

    attention_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor
    out: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor

    def quantised(self) -> StepLayer:
        """The same with weights of one byte, for `NativeStep`."""
        return StepLayer(
            attention_norm=self.attention_norm,
            mlp_norm=self.mlp_norm,
            qkv=quantised(self.qkv, self.qkv_bias),
            out=quantised(self.out),
            gate_up=quantised(self.gate_up),
            down=quantised(self.down),
        )


class DecoderLayer:
    """One layer's norms and products."""

    def __init__(self, weights: LayerWeights, packed: bool) -> None:
        self.attention_norm = weights.attention_norm
        self.mlp_norm = weights.mlp_norm
        self.qkv = Linear(weights.qkv, weights.qkv_bias, packed)
        self.out = Linear(weights.out, None, packed)
        self.gated = GatedLinear(weights.gate_up, packed)
        self.down = Linear(weights.down, None, packed)

    @property
    def weights(self) -> int:
        """How many the products have."""
        return sum(product.weights for product in (self.qkv, self.out, self.gated, self.down))


@torch.no_grad()
def fused(
    layer: Qwen2VLDecoderLayer, head_dim: int, dtype: torch.dtype, device: torch.device
) -> LayerWeights:
    """A layer's weights with the projections that share an input joined, as copies."""
    attention, mlp = layer.self_attn, layer.mlp
    query, key, value = attention.q_proj, attention.k_proj, attention.v_proj

    def place(tensor: Tensor) -> Tensor:
        return tensor.detach().to(device, dtype).contiguous()

    def joined(name: str) -> Tensor:
        rotated = [pair_rows(getattr(projection, name), head_dim) for projection in (query, key)]
        return place(torch.cat([*rotated, getattr(value, name)]))

    return LayerWeights(
        attention_norm=layer.input_layernorm.weight.detach().to(device, torch.float32),
        qkv=joined("weight"),
        qkv_bias=joined("bias"),
        out=place(attention.o_proj.weight),
        mlp_norm=layer.post_attention_layernorm.weight.detach().to(device, torch.float32),
        gate_up=place(torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])),
        down=place(mlp.down_proj.weight),
    )
