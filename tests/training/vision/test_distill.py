import pytest
import torch
from torch.nn import functional as F

from model.images import square_patches
from model.vision import merge, tower_forward
from tests.model.tiny import build_tokenizer
from tests.training.vision.tiny_tower import build_tower, made_up_views
from training.vision.distill import (
    PATCH_GRID,
    STATE,
    Distiller,
    DistillRecipe,
    DistillStudent,
    distill_loss,
    flip_views,
    jitter,
    learning_rate_at,
    load_tower,
    name_embeddings,
    place_among_words,
    save_tower,
)

RECIPE = DistillRecipe(steps=4, batch_size=4, warmup_steps=1, full_fraction=0.25, save_every=2)


class Interrupted(Exception):
    pass


def distiller(folder, recipe=RECIPE):
    tower = build_tower()
    torch.manual_seed(1)
    student = DistillStudent(tower, 8, torch.randn(3, 64))
    return Distiller(student, made_up_views(6, 2), torch.arange(6) % 3, recipe, folder)


def pooled(pixels):
    """A stand-in for a teacher that moves with the picture: mean colours on the 4 x 4 grid."""
    return F.adaptive_avg_pool2d(pixels, 4).flatten(2).transpose(1, 2)


def test_a_resumed_run_equals_an_unbroken_one(tmp_path, monkeypatch):
    whole = distiller(tmp_path / "whole")
    whole.run()
    broken = distiller(tmp_path / "broken")
    step = broken.train_step

    def stop_at_three():
        if broken.step == 3:  # one step past the save: it has to be made again
            raise Interrupted
        return step()

    monkeypatch.setattr(broken, "train_step", stop_at_three)
    with pytest.raises(Interrupted):
        broken.run()
    torch.manual_seed(99)
    resumed = distiller(tmp_path / "broken")
    resumed.run()
    assert resumed.step == 4
    ours, theirs = whole.student.state_dict(), resumed.student.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [path.name for path in (tmp_path / "broken").iterdir()] == [STATE]


def test_another_recipes_folder_is_refused(tmp_path):
    distiller(tmp_path).run()
    with pytest.raises(ValueError, match="another recipe"):
        distiller(tmp_path, DistillRecipe(steps=5, batch_size=4)).run()


def test_fewer_views_than_a_batch_are_refused(tmp_path):
    with pytest.raises(ValueError, match="12 views are fewer than a batch of 13"):
        distiller(tmp_path, DistillRecipe(batch_size=13))


def test_the_loss_falls(tmp_path):
    recipe = DistillRecipe(steps=40, batch_size=6, warmup_steps=3, learning_rate=1e-2, save_every=40)
    run = distiller(tmp_path, recipe)
    losses = [run.train_step() for _ in range(40)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_every_pass_sees_every_view_once(tmp_path):
    run = distiller(tmp_path)
    passes = []
    for number in range(2):
        seen = []
        for place in range(3):  # 12 views in batches of 4
            run.step = number * 3 + place
            seen += run._batch_views().tolist()
        assert sorted(seen) == list(range(12))
        passes.append(seen)
    assert passes[0] != passes[1]


def test_pixels_and_targets_are_mirrored_together():
    pixels = torch.rand(3, 3, 112, 112)
    flip = torch.tensor([True, False, True])
    mirrored, target = flip_views(pixels, pooled(pixels), flip)
    torch.testing.assert_close(target, pooled(mirrored))
    torch.testing.assert_close(mirrored[0], pixels[0].flip(2), atol=0, rtol=0)
    torch.testing.assert_close(mirrored[1], pixels[1], atol=0, rtol=0)
    twice = flip_views(mirrored, target, flip)
    torch.testing.assert_close(twice[0], pixels, atol=0, rtol=0)
    torch.testing.assert_close(twice[1], pooled(pixels), atol=0, rtol=0)


def test_merge_windows_lie_where_the_targets_grid_says():
    pixels = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8)
    patches = square_patches(pixels).view(2, 16, 4, 3, -1).mean(dim=(2, 4))  # mean colour a window
    mean, std = (
        torch.tensor([0.48145466, 0.4578275, 0.40821073]),
        torch.tensor([0.26862954, 0.26130258, 0.27577711]),
    )
    torch.testing.assert_close(
        patches * std + mean, pooled(pixels.permute(0, 3, 1, 2) / 255), atol=1e-4, rtol=1e-4
    )


def test_dropped_windows_keep_their_own_targets(tmp_path):
    run = distiller(tmp_path)
    keep = run._kept_windows(4, torch.Generator().manual_seed(0))
    assert keep.shape == (4, 8)
    assert all(len(set(row)) == 8 for row in keep.tolist())
    run.step = 3  # the last quarter keeps everything
    assert run._kept_windows(4, torch.Generator()) is None


def test_jitter_stays_in_range_and_follows_its_generator():
    pixels = torch.rand(4, 3, 8, 8)
    one, two = (jitter(pixels, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, pixels)
    assert one.min() >= 0
    assert one.max() <= 1


def test_a_perfect_student_pays_only_for_the_smoothed_name():
    names = torch.eye(3, 64)
    target = torch.randn(2, 16, 8)
    merged = names[[0, 2]].unsqueeze(1).expand(2, 16, 64)
    recipe = DistillRecipe(label_smoothing=0.0, name_scale=50.0)
    label = torch.tensor([0, 2])
    assert distill_loss(merged, 3 * target, target, names, label, recipe).item() == pytest.approx(0, abs=1e-5)
    assert distill_loss(merged, -target, target, names, label, recipe).item() == pytest.approx(4, abs=1e-4)
    assert distill_loss(merged, target, target, names, label.flip(0), recipe).item() > 10


def test_the_rate_warms_up_and_falls_to_zero():
    recipe = DistillRecipe(steps=20, warmup_steps=5)
    rates = [learning_rate_at(step, recipe) for step in range(21)]
    assert max(rates) == pytest.approx(recipe.learning_rate)
    assert rates[:5] == sorted(rates[:5])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[20] == pytest.approx(0)


def test_a_names_embedding_is_the_mean_of_its_tokens():
    tokenizer, embedding = build_tokenizer(), torch.randn(272, 16)
    found = name_embeddings(["cat", "x"], tokenizer, embedding)
    ids = tokenizer(" cat")["input_ids"]
    assert len(ids) == 4
    torch.testing.assert_close(found[0], embedding[ids].mean(0))


@torch.no_grad()
def test_image_tokens_lie_as_far_from_the_mean_word_as_words_do():
    tower, patches = build_tower(), torch.randn(3, 64, 1176)
    words = torch.randn(50, 64) + 2
    before = merge(tower, tower_forward(tower, patches, PATCH_GRID))
    place_among_words(tower, patches, words)
    after = merge(tower, tower_forward(tower, patches, PATCH_GRID)) - words.mean(0)
    expected = (words - words.mean(0)).norm(dim=-1).mean().item()
    assert after.norm(dim=-1).mean().item() == pytest.approx(expected, rel=1e-4)
    directions = torch.cosine_similarity(before, after, dim=-1)  # what the tower learned is kept
    torch.testing.assert_close(directions, torch.ones(3, 16))


def test_a_tower_comes_back_in_bf16(tmp_path):
    tower, other = build_tower(0), build_tower(1)
    save_tower(tower, tmp_path / "towers" / "t.safetensors")
    load_tower(other, tmp_path / "towers" / "t.safetensors")
    for name, tensor in tower.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor.bfloat16().float())


def test_what_is_no_tower_is_named(tmp_path):
    path = tmp_path / "t.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"t\.safetensors does not hold"):
        load_tower(build_tower(), path)
    save_tower(torch.nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match=r"t\.safetensors does not hold"):
        load_tower(build_tower(), path)
