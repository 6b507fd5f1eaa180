import pytest
import torch

from model.conv_tower import CHANNELS, Merger
from training.vision.naming import NamingRecipe, naming_loss, place_among_words, train_merger

RECIPE = NamingRecipe(steps=40, batch_size=16, warmup_steps=4, dropout=0.0)


@pytest.fixture
def made_up():
    """Features of 48 images of three kinds, and the kinds' directions."""
    draws = torch.Generator().manual_seed(0)
    label = torch.arange(48) % 3
    kinds = torch.randn(3, 1, CHANNELS, generator=draws)
    features = kinds[label] + 0.5 * torch.randn(48, 4, CHANNELS, generator=draws)
    return features.bfloat16(), label, torch.randn(3, 32, generator=draws)


def merger():
    torch.manual_seed(1)
    return Merger(32)


def test_the_merger_learns_the_names(made_up):
    features, label, names = made_up
    losses = []
    trained = merger()
    train_merger(trained, features, label, names, RECIPE, lambda step, loss: losses.append((step, loss)))
    assert [step for step, _ in losses] == list(range(1, 41))
    assert losses[-1][1] < losses[0][1] - 0.5
    centred = torch.nn.functional.normalize(names - names.mean(0), dim=-1)
    found = (trained(features.float()).mean(1) @ centred.T).argmax(1)
    assert (found == label).all()


def test_the_same_seed_gives_the_same_merger(made_up):
    features, label, names = made_up
    both = [merger(), merger()]
    for one in both:
        train_merger(one, features, label, names, RECIPE, lambda step, loss: None)
    for first, second in zip(both[0].parameters(), both[1].parameters(), strict=True):
        torch.testing.assert_close(first, second)


def test_the_loss_is_small_where_the_token_is_the_name():
    names = torch.eye(4)
    right = naming_loss(names[:2].unsqueeze(1), names, torch.tensor([0, 1]), RECIPE)
    wrong = naming_loss(names[:2].unsqueeze(1), names, torch.tensor([2, 3]), RECIPE)
    assert right < 2 < wrong


def test_fewer_images_than_a_batch_is_an_error(made_up):
    features, label, names = made_up
    with pytest.raises(ValueError, match="5 images"):
        train_merger(merger(), features[:5], label[:5], names, RECIPE, lambda step, loss: None)


def test_tokens_are_placed_where_words_are(made_up):
    features, _, _ = made_up
    words = torch.randn(100, 32) + 3
    placed = merger()
    place_among_words(placed, features, words)
    tokens = placed(features.float()).detach()
    distance = (words - words.mean(0)).norm(dim=-1).mean()
    torch.testing.assert_close((tokens - words.mean(0)).norm(dim=-1).mean(), distance, rtol=0.05, atol=0)
