"""The mini base's tower is EfficientNet-Lite0, and speaks Qwen2-VL's language of patches."""

import pytest
import torch
import torch.nn.functional as F

from model.conv_tower import CHANNELS, IMAGENET_MEAN, IMAGENET_STD, PATCH, ConvTower
from model.images import ImageFormat, PreparedImage, square_patches
from model.vision import encode_images
from training.vision.backbone import fold_into, load_network

GRID = (8, 8)


@pytest.fixture(scope="module")
def network():
    return load_network()


@pytest.fixture(scope="module")
def tower(network):
    made = ConvTower(64).eval()
    fold_into(made, network)
    return made


@pytest.fixture(scope="module")
def pixels():
    return torch.randint(0, 256, (3, 224, 224, 3), generator=torch.Generator().manual_seed(0)).byte()


@torch.inference_mode()
def test_its_features_are_the_networks(tower, network, pixels):
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    normalised = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / deviation
    expected = F.adaptive_avg_pool2d(network.extract_features(normalised), 4).flatten(2).transpose(1, 2)
    features = tower.hidden(square_patches(pixels, PATCH), GRID)
    assert features.shape == (3, 16, CHANNELS)
    torch.testing.assert_close(features, expected, atol=2e-4, rtol=1e-3)
    assert expected.std() > 0.1


def test_patches_are_put_together_in_place(pixels):
    put_together = ConvTower.pixels(square_patches(pixels, PATCH), GRID)
    darker = square_patches(pixels // 2, PATCH)
    assert put_together.shape == (3, 3, 224, 224)
    # The normalisation is one line a channel, so order alone decides whether pixels correlate.
    for channel in range(3):
        pair = torch.stack([put_together[0, channel].flatten(), pixels[0, ..., channel].flatten().float()])
        assert torch.corrcoef(pair)[0, 1] > 0.9999
    assert not torch.equal(ConvTower.pixels(darker, GRID), put_together)


@torch.inference_mode()
def test_transformers_call_gives_the_same_tokens(tower, pixels):
    patches = square_patches(pixels[:2], PATCH)
    grid = torch.tensor([[1, 8, 8]] * 2)
    called = tower(patches.flatten(0, 1), grid_thw=grid).pooler_output
    images = [PreparedImage(one, (1, 8, 8), str(number)) for number, one in enumerate(patches)]
    torch.testing.assert_close(torch.cat(encode_images(tower, images)), called, atol=1e-4, rtol=1e-3)


@torch.inference_mode()
def test_other_shapes_than_squares(tower):
    tokens = encode_images(tower, [PreparedImage(torch.randn(6 * 10, 4704), (1, 6, 10), "wide")])
    assert tokens[0].shape == (15, 64)
    assert tokens[0].isfinite().all()


def test_a_token_covers_two_patches_a_side():
    assert ImageFormat(224, patch_size=PATCH).token_side == 56
    with pytest.raises(ValueError, match="multiple of 56"):
        ImageFormat(112 + 28, patch_size=PATCH)
