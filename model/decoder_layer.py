"""One layer's weights, copied out of transformers' model: projections that share an input are joined."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLDecoderLayer

from model.linear import GatedLinear, Linear
from model.native_pass import TiledLayer
from model.native_step import StepLayer, quantised
from model.rope import pair_rows
from model.tiles import TiledLinear, tiled, tiled_gate


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

    def tiled(self) -> TiledLayer:
        """The same with weights in tiles, for `NativePass`."""
        return TiledLayer(
            attention_norm=self.attention_norm,
            mlp_norm=self.mlp_norm,
            qkv=tiled(self.qkv, self.qkv_bias),
            out=tiled(self.out),
            gated=tiled_gate(self.gate_up),
            down=tiled(self.down),
        )


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """One layer's norms and products."""

    attention_norm: Tensor
    mlp_norm: Tensor
    qkv: Linear | TiledLinear
    out: Linear | TiledLinear
    gated: GatedLinear | TiledLinear
    down: Linear | TiledLinear

    @classmethod
    def of(cls, weights: LayerWeights, packed: bool) -> DecoderLayer:
        """With torch's products; `packed`: oneDNN's, whose weights are laid out once."""
        return cls(
            weights.attention_norm,
            weights.mlp_norm,
            qkv=Linear(weights.qkv, weights.qkv_bias, packed),
            out=Linear(weights.out, None, packed),
            gated=GatedLinear(weights.gate_up, packed),
            down=Linear(weights.down, None, packed),
        )

    @classmethod
    def of_tiles(cls, layer: TiledLayer, threads: int) -> DecoderLayer:
        """With the compiled kernels' products, of the weights that a `NativePass` has too."""
        products = (
            TiledLinear(weight, threads) for weight in (layer.qkv, layer.out, layer.gated, layer.down)
        )
        return cls(layer.attention_norm, layer.mlp_norm, *products)

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
