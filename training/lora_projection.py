"""LoRA of one projection with the scaling and the addition inside the product."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor


class FusedLora(Linear):
    """peft's layer, equal to it; its plain case makes one pass over the output instead of three.

    peft computes W x, then B A x, then the latter times the scaling, then their sum: two more
    passes over memory, which a small product on a CPU is not much longer than.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[..., in] -> [..., out]: W x + scaling * B A x."""
        name = self._plain_adapter(x)
        if name is None or args or kwargs:
            result: Tensor = super().forward(x, *args, **kwargs)
            return result
        base = self.base_layer(x)
        low = self.lora_dropout[name](x).flatten(0, -2) @ self.lora_A[name].weight.t()
        whole = torch.addmm(base.flatten(0, -2), low, self.lora_B[name].weight.t(), alpha=self.scaling[name])
        return whole.view_as(base)

    def _plain_adapter(self, x: Tensor) -> str | None:
        """The one active adapter where nothing but LoRA itself is to be done, in one precision."""
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return None
        (name,) = self.active_adapters
        weight = self.lora_A[name].weight
        plain = name not in self.lora_variant and self.lora_B[name].bias is None
        # Autocast brings every operand of a product to one precision by itself.
        one_precision = x.dtype == weight.dtype or torch.is_autocast_enabled(x.device.type)
        return name if plain and one_precision else None
