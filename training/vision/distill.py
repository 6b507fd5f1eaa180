"""Pre-trains the mini vision tower and merger: a teacher's features and the objects' names, distilled.

Three losses on every view (a crop that the teacher saw too):

- each merged token against the teacher's features at its place, cosine;
- their mean against the mean of the teacher's features, cosine;
- the mean merged token against the language model's own embeddings of all object names, cross-entropy:
  so that what the merger writes already points at words when the joint training begins.

For most of the schedule only half of the merge windows are kept (token dropping): twice the photos in
the same time.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from model.images import square_patches
from model.vision import merge, tower_forward
from training.provenance import FACTS
from training.state import restore_state, save_state, stored_facts
from training.vision.teacher import GRID, TeacherViews, crop

SIDE = 112
STATE = "state.safetensors"
PATCH_GRID = (8, 8)


@dataclass(frozen=True, slots=True)
class DistillRecipe:
    """Hyper-parameters of the pre-training; `steps` counts optimizer steps."""

    steps: int = 1500
    batch_size: int = 128
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup_steps: int = 150
    kept_windows: int = 8  # of 16
    full_fraction: float = 0.2  # the last part of the schedule keeps all windows
    name_weight: float = 0.4
    name_scale: float = 15.0
    label_smoothing: float = 0.1
    save_every: int = 100
    seed: int = 0


class DistillStudent(nn.Module):
    """Tower, merger, a head onto the teacher's features and the fixed directions of the names."""

    def __init__(self, tower: nn.Module, feature_dimensions: int, name_embeddings: Tensor) -> None:
        """`name_embeddings` is [K, H], the language model's embeddings of the names."""
        super().__init__()
        self.tower = tower
        self.head = nn.Linear(name_embeddings.shape[1], feature_dimensions)
        centred = name_embeddings - name_embeddings.mean(0)
        self.names: Tensor
        self.register_buffer("names", F.normalize(centred, dim=-1))

    def forward(self, patches: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """patches [B, 64, 1176] -> merged tokens [B, W, H] and their teacher features [B, W, D], fp32."""
        hidden = tower_forward(self.tower, patches, PATCH_GRID, keep=keep)
        merged = merge(self.tower, hidden).float()
        return merged, self.head(merged)


def distill_loss(
    merged: Tensor, predicted: Tensor, target: Tensor, names: Tensor, label: Tensor, recipe: DistillRecipe
) -> Tensor:
    """The module's three losses.

    merged [B, W, H], predicted and target [B, W, D], label [B] into names [K, H].
    """
    dense = 1 - F.cosine_similarity(predicted, target, dim=-1).mean()
    pooled = 1 - F.cosine_similarity(predicted.mean(1), target.mean(1), dim=-1).mean()
    logits = recipe.name_scale * F.normalize(merged.mean(1), dim=-1) @ names.T
    naming = F.cross_entropy(logits, label, label_smoothing=recipe.label_smoothing)
    return dense + pooled + recipe.name_weight * naming


def learning_rate_at(step: int, recipe: DistillRecipe) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


class Distiller:
    """The pre-training loop; its whole state lives in `folder`, so that it resumes exactly."""

    def __init__(
        self,
        student: DistillStudent,
        views: TeacherViews,
        labels: Tensor,
        recipe: DistillRecipe,
        folder: Path,
    ) -> None:
        """`labels` is [N], each photo's index into the student's names.

        Raises ValueError for fewer views than a batch.
        """
        if len(views.photo) < recipe.batch_size:
            raise ValueError(f"{len(views.photo)} views are fewer than a batch of {recipe.batch_size}.")
        self.student, self.views, self.labels = student, views, labels
        self.recipe, self.folder = recipe, folder
        self.optimizer = torch.optim.AdamW(
            student.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
        )
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)

    def run(self) -> None:
        """Train to the recipe's end from wherever the folder's state stands."""
        self._restore()
        columns = (
            TextColumn("Vision tower"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
        )
        with Progress(*columns) as progress:
            task = progress.add_task("", total=self.recipe.steps, completed=self.step, loss="")
            while self.step < self.recipe.steps:
                loss = self.train_step()
                progress.update(task, completed=self.step, loss=f"loss {loss:.3f}")
                if self.step % self.recipe.save_every == 0 or self.step == self.recipe.steps:
                    self._save()
                    progress.console.log(f"step {self.step} loss {loss:.4f}")

    def train_step(self) -> float:
        """One optimizer step on the views that belong to the current step; returns its loss."""
        recipe = self.recipe
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + self.step)
        view = self._batch_views()
        photo = self.views.photo[view]
        flip = torch.rand(len(view), generator=generator) < 0.5
        pixels = crop(self.views.images[photo], self.views.crops[view], SIDE)
        target = self.views.features[view].float()
        pixels, target = flip_views(pixels, target, flip)
        keep = self._kept_windows(len(view), generator)
        if keep is not None:
            target = target.gather(1, keep.unsqueeze(-1).expand(-1, -1, target.shape[-1]))
        patches = square_patches((jitter(pixels, generator) * 255).round().byte().permute(0, 2, 3, 1))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, recipe)
        with torch.autocast("cpu", torch.bfloat16):
            merged, predicted = self.student(patches, keep)
        loss = distill_loss(merged, predicted.float(), target, self.student.names, self.labels[photo], recipe)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def _batch_views(self) -> Tensor:
        """The step's views: each pass over all views is one shuffle that depends on the pass alone."""
        size, total = self.recipe.batch_size, len(self.views.photo)
        per_pass = total // size
        number, place = divmod(self.step, per_pass)
        order = torch.randperm(total, generator=torch.Generator().manual_seed(self.recipe.seed + number))
        return order[place * size : (place + 1) * size]

    def _kept_windows(self, count: int, generator: torch.Generator) -> Tensor | None:
        if self.step >= self.recipe.steps * (1 - self.recipe.full_fraction):
            return None
        order = torch.rand(count, GRID * GRID, generator=generator).argsort(1)
        return order[:, : self.recipe.kept_windows]

    def _save(self) -> None:
        facts = {"step": self.step, "recipe": asdict(self.recipe)}
        save_state(self.folder / STATE, self.student, self.optimizer, facts)

    def _restore(self) -> None:
        path = self.folder / STATE
        if not path.exists():
            return
        if stored_facts(path)["recipe"] != asdict(self.recipe):
            raise ValueError(f"{path} was made with another recipe; choose another folder or remove it.")
        self.step = restore_state(path, self.student, self.optimizer)["step"]


def flip_views(pixels: Tensor, target: Tensor, flip: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror the chosen views and the teacher's grid alike.

    pixels [B, 3, S, S], target [B, 16, D], flip [B] (bool).
    """
    grid = target.view(len(target), GRID, GRID, -1)
    mirrored = torch.where(flip.view(-1, 1, 1, 1), grid.flip(2), grid).flatten(1, 2)
    return torch.where(flip.view(-1, 1, 1, 1), pixels.flip(3), pixels), mirrored


def jitter(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Random brightness and contrast per photo; pixels [B, 3, S, S] in 0..1 stay there."""
    gain, shift = (torch.rand(2, len(pixels), 1, 1, 1, generator=generator) - 0.5).mul(0.4).unbind(0)
    return ((pixels - 0.5) * (1 + gain) + 0.5 + shift * 0.5).clamp(0, 1)


def name_embeddings(names: list[str], tokenizer: Any, embedding: Tensor) -> Tensor:
    """The mean of each name's token embeddings. embedding [V, H] -> [K, H], fp32."""
    rows = [
        embedding[tokenizer(f" {name}", add_special_tokens=False)["input_ids"]].float().mean(0)
        for name in names
    ]
    return torch.stack(rows)


def place_among_words(tower: Any, patches: Tensor, embedding: Tensor) -> None:
    """Scale and shift the merger's last layer so that image tokens lie where word embeddings lie.

    Word embeddings (embedding [V, H]) share a large mean; what tells them apart is the rest. The losses
    above see directions without that mean, so the merger's tokens get the words' typical distance from
    the mean, and the mean itself. patches [B, 64, 1176] are images to measure the tokens on.
    """
    words = embedding.float()
    mean = words.mean(0)
    distance = (words - mean).norm(dim=-1).mean()
    with torch.inference_mode():
        norm = merge(tower, tower_forward(tower, patches, PATCH_GRID)).float().norm(dim=-1).mean()
    last = tower.merger.mlp[-1]
    with torch.no_grad():
        last.weight.mul_(distance / norm)
        last.bias.mul_(distance / norm).add_(mean)


def save_tower(tower: nn.Module, path: Path, facts: dict[str, Any] | None = None) -> None:
    """Write the tower and merger as bf16 safetensors, with `facts` of its training in the file's metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.bfloat16().contiguous() for name, tensor in tower.state_dict().items()}
    save_file(tensors, path, metadata={FACTS: json.dumps(facts or {})})


def load_tower(tower: nn.Module, path: Path) -> None:
    """Read what `save_tower` wrote. Raises ValueError where it is no safetensors file or of another shape."""
    try:
        tower.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path} does not hold the weights of this vision tower: {error}") from error
