"""A vision tower of one block and made-up teacher views."""

import torch
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

from training.vision.teacher import GRID, TeacherViews, random_crops


def build_tower(seed=0):
    """Depth 1, width 32, image tokens of 64."""
    torch.manual_seed(seed)
    config = Qwen2VLVisionConfig(depth=1, embed_dim=32, hidden_size=64, num_heads=2, mlp_ratio=2)
    return Qwen2VisionTransformerPretrainedModel(config).float()


def made_up_views(photos, each, dimensions=8):
    """Random photos with random features; the same at every call."""
    generator = torch.Generator().manual_seed(2)
    count = photos * each
    return TeacherViews(
        images=torch.randint(0, 256, (photos, 128, 128, 3), generator=generator, dtype=torch.uint8),
        photo=torch.arange(photos).repeat_interleave(each),
        crops=random_crops(count, generator),
        features=torch.randn(count, GRID * GRID, dimensions, generator=generator).half(),
    )
