import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from training.vision import teacher
from training.vision.teacher import (
    STORED_SIDE,
    TEACHER_SIDE,
    FeatureBasis,
    compute_views,
    crop,
    load_photos,
    random_crops,
)


def noise(count=2):
    return torch.randint(0, 256, (count, 128, 128, 3), dtype=torch.uint8)


@given(st.integers(8, 128), st.data())
def test_a_crop_on_pixel_edges_is_a_slice(side, data):
    left, top = (data.draw(st.integers(0, 128 - side)) for _ in range(2))
    images = noise(1)
    found = crop(images, torch.tensor([[side, left, top]]) / 128, side)
    expected = images[:, top : top + side, left : left + side].permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_each_image_of_a_batch_has_its_own_crop():
    images, boxes = noise(3), torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0.25], [0.75, 0.1, 0.2]])
    together = crop(images, boxes, 112)
    for number in range(3):
        alone = crop(images[number : number + 1], boxes[number : number + 1], 112)
        torch.testing.assert_close(together[number], alone[0])


def test_the_student_and_the_teacher_see_the_same_crop():
    smooth = torch.linspace(0, 255, 128).round().byte().view(1, 128, 1, 1).expand(1, 128, 128, 3)
    box = torch.tensor([[0.7, 0.2, 0.1]])
    small, large = crop(smooth, box, 112), crop(smooth, box, TEACHER_SIDE)
    pooled = torch.nn.functional.avg_pool2d(large, 2)
    torch.testing.assert_close(small, pooled, atol=0.01, rtol=0)


def test_random_crops_lie_within_the_photo():
    boxes = random_crops(500, torch.Generator().manual_seed(0), smallest=0.6)
    assert boxes[:, 0].min() >= 0.6
    assert boxes[:, 0].max() <= 1
    assert boxes.min() >= 0
    assert (boxes[:, :1] + boxes[:, 1:]).max() <= 1 + 1e-6
    assert boxes[:, 0].std() > 0.05


def test_the_basis_centres_decorrelates_and_half_whitens():
    torch.manual_seed(0)
    sample = torch.randn(400, 12) * torch.linspace(5, 0.5, 12) @ torch.linalg.qr(torch.randn(12, 12))[0] + 7
    reduced = FeatureBasis(sample, 6)(sample)
    assert reduced.shape == (400, 6)
    torch.testing.assert_close(reduced.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    covariance = reduced.T @ reduced / 400
    deviations = torch.linalg.svdvals(sample - sample.mean(0))[:6] / 400**0.5
    # Half whitening leaves each direction the square root of the deviation that it had.
    torch.testing.assert_close(covariance, torch.diag(deviations), atol=1e-3, rtol=1e-3)


@pytest.fixture
def photos(tmp_path):
    paths = []
    for number, colour in enumerate(("red", "green", "blue")):
        path = tmp_path / "photos" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        picture = Image.new("RGB", (50 + number, 40), colour)
        picture.paste("white", (5, 5, 20, 20))
        picture.save(path)
        paths.append(path)
    return paths


def test_photos_are_squashed_to_one_side(photos):
    pixels = load_photos(photos)
    assert pixels.shape == (3, STORED_SIDE, STORED_SIDE, 3)
    assert pixels[0, -1, -1].tolist() == [255, 0, 0]


def test_views_are_the_teachers_and_are_kept(photos, tmp_path, monkeypatch):
    cache = tmp_path / "run" / "teacher.safetensors"
    views = compute_views(photos, [2, 1, 3], cache, dimensions=8)
    assert views.photo.tolist() == [0, 0, 1, 2, 2, 2]
    assert views.features.shape == (6, 16, 8)
    assert views.features.dtype == torch.float16
    assert views.features.float().std() > 0.01
    assert not torch.equal(views.features[0], views.features[2])  # red is not green to the teacher

    def refuse():
        raise AssertionError("the cache holds these views")

    monkeypatch.setattr(teacher, "load_teacher", refuse)
    again = compute_views(photos, [2, 1, 3], cache, dimensions=8)
    for name in ("images", "photo", "crops", "features"):
        assert torch.equal(getattr(again, name), getattr(views, name))
    for changed in (
        {"views_per_photo": [2, 1, 2]},
        {"paths": photos[::-1]},
        {"dimensions": 7},
        {"seed": 1},
    ):
        arguments = {"paths": photos, "views_per_photo": [2, 1, 3], "cache": cache, "dimensions": 8}
        with pytest.raises(AssertionError, match="the cache holds"):
            compute_views(**{**arguments, **changed})
