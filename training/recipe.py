"""A training recipe: every hyper-parameter of a run in one small TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

RECIPES = Path(__file__).parent / "recipes"


class Recipe(BaseModel):
    """Hyper-parameters of the joint training; what the paper states is marked (paper)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="The checkpoint's name.")
    base: str = Field(description="Base model: 'solomon-mini-base', a hub id or a folder.")
    datasets: dict[str, float] = Field(description="Training subsets and how often each is drawn.")
    steps: int = Field(gt=0, description="Optimizer steps.")
    batch_size: int = Field(32, gt=1, description="Queries a step, all of one dataset.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak rate of the LoRA and the route tokens.")
    merger_learning_rate: float = Field(
        3e-4, ge=0, description="Peak rate of the vision merger; 0 freezes it."
    )
    warmup_steps: int = Field(30, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    lora_rank: int = Field(16, gt=0, description="LoRA rank (paper: 16).")
    lora_alpha: int = Field(32, gt=0, description="LoRA alpha (the paper does not state it).")
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    alpha_gen: float = Field(0.1, ge=0, description="Weight of L_gen (paper: 0.1).")
    temperature: float = Field(0.03, gt=0, description="InfoNCE temperature (not stated in the paper).")
    max_text_tokens: int = Field(96, gt=8, description="Longer texts are cut in training.")
    max_augment_tokens: int = Field(
        24, gt=0, description="Longer augmentations are cut in training and serving."
    )
    image_side: int | None = Field(
        112, gt=0, multiple_of=28, description="Pixels a side that every image is squashed to."
    )
    save_every: int = Field(50, gt=0)
    seed: int = 0


def load_recipe(name_or_path: str) -> Recipe:
    """A recipe by a shipped one's name ("mini") or by path. Raises ValueError that says what is wrong."""
    shipped = RECIPES / f"{name_or_path}.toml"
    path = shipped if shipped.exists() else Path(name_or_path)
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.toml")))
        raise ValueError(f"No recipe '{name_or_path}': give a TOML file or one of: {known}.")
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise ValueError(f"{path} is not a recipe: {error}") from error
