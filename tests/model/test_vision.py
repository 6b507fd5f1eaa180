import pytest
import torch

from model.images import PreparedImage
from model.vision import encode_images, merge, tower_forward


def reference(tower, patches, grid_hw):
    grid = torch.tensor([[1, *grid_hw]] * patches.shape[0])
    output = tower(patches.flatten(0, 1), grid_thw=grid)
    count = patches.shape[1]
    return (
        output.last_hidden_state.view(patches.shape[0], count, -1),
        output.pooler_output.view(patches.shape[0], count // 4, -1),
    )


@pytest.mark.parametrize("grid", [(8, 8), (4, 10), (2, 2)])
def test_dense_batch_equals_transformers(tiny_model, grid):
    tower = tiny_model.model.visual
    patches = torch.randn(3, grid[0] * grid[1], 1176)
    with torch.no_grad():
        hidden = tower_forward(tower, patches, grid)
        expected_hidden, expected_merged = reference(tower, patches, grid)
        torch.testing.assert_close(hidden, expected_hidden, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(merge(tower, hidden), expected_merged, atol=2e-5, rtol=1e-4)


def test_gradients_reach_every_weight_under_autocast(tiny_model):
    tower = tiny_model.model.visual
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens = merge(tower, tower_forward(tower, torch.randn(2, 16, 1176), (4, 4)))
    tokens.float().square().mean().backward()
    missing = [name for name, weight in tower.named_parameters() if weight.grad is None]
    tower.zero_grad(set_to_none=True)
    assert missing == []


def test_encode_images_keeps_order_across_grids(tiny_model):
    tower = tiny_model.model.visual
    grids = [(4, 4), (2, 6), (4, 4)]
    images = [PreparedImage(torch.randn(h * w, 1176), (1, h, w), str(i)) for i, (h, w) in enumerate(grids)]
    with torch.no_grad():
        together = encode_images(tower, images)
        for image, tokens in zip(images, together, strict=True):
            _, expected = reference(tower, image.patches[None], image.grid_thw[1:])
            torch.testing.assert_close(tokens, expected[0], atol=2e-5, rtol=1e-4)
