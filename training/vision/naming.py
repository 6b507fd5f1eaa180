"""Pre-trains the vision merger: an image's mean token points at the word embeddings of its name.

The language model then finds something to read in image tokens from the joint training's first step;
with a random merger it learns to look away from them. The network under the merger is frozen and has run
over the images before, so this takes a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.schedule import warmup_cosine


@dataclass(frozen=True, slots=True)
class NamingRecipe:
    """Hyper-parameters; `dropout` is of the network's channels, against learning photos by heart."""

    steps: int = 500
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 30
    dropout: float = 0.1
    name_scale: float = 15.0
    label_smoothing: float = 0.1
    seed: int = 0


def naming_loss(tokens: Tensor, names: Tensor, label: Tensor, recipe: NamingRecipe) -> Tensor:
    """Cross-entropy of the mean token over all names, in nats.

    tokens [B, T, H]; names [K, H], directions of unit length; label [B] into names.
    """
    logits = recipe.name_scale * F.normalize(tokens.float().mean(1), dim=-1) @ names.T
    return F.cross_entropy(logits, label, label_smoothing=recipe.label_smoothing)


def train_merger(
    merger: nn.Module,
    features: Tensor,
    label: Tensor,
    names: Tensor,
    recipe: NamingRecipe,
    progress: Callable[[int, float], None],
) -> None:
    """Train in place. features [N, T, C] of the frozen network, label [N] into names [K, H].

    `progress` is told every step's number and loss. Raises ValueError for fewer images than a batch.
    """
    if len(features) < recipe.batch_size:
        raise ValueError(f"{len(features)} images are fewer than a batch of {recipe.batch_size}.")
    generator = torch.Generator().manual_seed(recipe.seed)
    torch.manual_seed(recipe.seed)  # dropout's
    directions = F.normalize(names.float() - names.float().mean(0), dim=-1)
    optimizer = torch.optim.AdamW(
        merger.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
    )
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_cosine(step, recipe.warmup_steps, recipe.steps)
    )
    for step in range(recipe.steps):
        chosen = torch.randint(len(features), (recipe.batch_size,), generator=generator)
        shown = F.dropout(features[chosen].float(), recipe.dropout)
        loss = naming_loss(merger(shown), directions, label[chosen], recipe)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
        progress(step + 1, loss.item())


def name_embeddings(names: list[str], tokenizer: Any, embedding: Tensor) -> Tensor:
    """The mean of each name's token embeddings. embedding [V, H] -> [K, H], fp32."""
    rows = [
        embedding[tokenizer(f" {name}", add_special_tokens=False)["input_ids"]].float().mean(0)
        for name in names
    ]
    return torch.stack(rows)


@torch.no_grad()
def place_among_words(merger: Any, features: Tensor, embedding: Tensor) -> None:
    """Scale and shift the merger's last layer so that image tokens lie where word embeddings lie.

    Word embeddings (embedding [V, H]) share a large mean; what tells them apart is the rest. The loss
    above sees directions without that mean, so the merger's tokens get the words' typical distance from
    the mean, and the mean itself. features [B, T, C] are of images to measure the tokens on.
    """
    words = embedding.float()
    mean = words.mean(0)
    distance = (words - mean).norm(dim=-1).mean()
    norm = merger(features.float()).float().norm(dim=-1).mean()
    last = merger.mlp[-1]
    last.weight.mul_(distance / norm)
    last.bias.mul_(distance / norm).add_(mean)
