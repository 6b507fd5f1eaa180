"""A training recipe: every hyper-parameter of a run in one small TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from model.engine.settings import fast_dtype
from model.images import ImageFormat

RECIPES = Path(__file__).parent / "recipes"

Mode = Literal["adaptive", "no-augmentation", "always-augment"]


def _none_for_any(value: Any) -> Any:
    return None if value == "any" else value  # TOML has no null


class Recipe(BaseModel):
    """Hyper-parameters of the joint training; what the paper states is marked (paper)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="The checkpoint's name.")
    base: str = Field(description="Base model: 'solomon-mini-base', a hub id or a folder.")
    datasets: dict[str, float] | list[str] = Field(
        min_length=1,
        description="Training subsets and how often each is drawn; a list: see `sampling_temperature`.",
    )
    sampling_temperature: float = Field(
        1.0,
        gt=0,
        description="T: subsets of a list are drawn in proportion to (rows in it) ** (1 / T). 1 is by size.",
    )
    split: str = Field("", description="Where a dataset is a folder of several splits' shards: which one.")
    rows_per_dataset: int | None = Field(None, gt=0, description="A seeded choice of so many rows of each.")
    mode: Mode = Field(
        "adaptive",
        description="The pilot study's two baselines embed every query as it is, or answer every query.",
    )
    labels: Literal["route", "augmentation"] = Field(
        "route",
        description="Adaptive: which queries learn /augment. 'route': as the rows' route column says, where "
        "it says something; 'augmentation': all that have one.",
    )
    steps: int = Field(gt=0, description="Optimizer steps.")
    batch_size: int = Field(32, gt=1, description="Queries a step over all devices, all of one dataset.")
    chunk_size: int | None = Field(
        None,
        gt=0,
        description="Sequences of one forward pass on a device: the batch is then not bounded by memory "
        "(GradCache). None: the whole batch at once.",
    )
    hard_negatives: int = Field(1, ge=0, description="m: hard negatives used of each query (paper: 1).")
    wrong_answers: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of augmented queries whose vector is trained on another query's answer, which is "
        "not learned: when serving, answers are wrong now and then, and the question must still count.",
    )
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
    matryoshka: dict[int, float] = Field(
        default_factory=dict,
        description="Lengths of vector prefixes that must work by themselves, and L_rep's weight at each "
        "(arXiv 2205.13147); the full length belongs to them. Empty: the full vector only.",
    )
    max_text_tokens: int = Field(96, gt=8, description="Longer texts are cut in training.")
    max_augment_tokens: int = Field(
        24, gt=0, description="Longer augmentations are cut in training and serving."
    )
    image_side: Annotated[int | None, BeforeValidator(_none_for_any)] = Field(
        112,
        gt=0,
        description="Pixels a side that images are squashed to; 'any': Qwen2-VL's own dynamic resolution.",
    )
    patch_size: int = Field(
        14,
        gt=0,
        description="Pixels a side of a patch, as the base's tower takes them; 28 for the mini base.",
    )
    min_pixels: int = Field(56 * 56, gt=0, description="Images of any size: smaller ones are enlarged.")
    max_pixels: int = Field(28 * 28 * 640, gt=0, description="Images of any size: larger ones are reduced.")
    vision_tower: Literal["cached", "frozen", "lora"] = Field(
        "cached",
        description="'cached': frozen, run once an image before the training; 'frozen': run in every step; "
        "'lora': run in every step, with LoRA.",
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto",
        description="Of the forward pass (autocast). 'auto': bf16 where the hardware computes with it, as "
        "emulated bf16 is many times slower than fp32.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Activations are computed again in the backward pass instead of being kept."
    )
    save_every: int = Field(50, gt=0)
    seed: int = 0

    @model_validator(mode="after")
    def _agreement(self) -> Recipe:
        if self.vision_tower == "cached" and self.image_side is None:
            raise ValueError(
                "Cached features need images of one size: set image_side, or vision_tower 'frozen' or 'lora'."
            )
        if self.min_pixels > self.max_pixels:
            raise ValueError("min_pixels is more than max_pixels; lower the one or raise the other.")
        if self.image_side is not None and self.image_side % (2 * self.patch_size):
            raise ValueError(f"image_side must be a multiple of {2 * self.patch_size}, two patches.")
        if isinstance(self.datasets, dict) and not all(weight > 0 for weight in self.datasets.values()):
            raise ValueError("Every dataset needs a weight above 0; remove those that are not to be drawn.")
        if any(length < 1 or weight <= 0 for length, weight in self.matryoshka.items()):
            raise ValueError("matryoshka needs positive lengths and weights, `256 = 0.5` say.")
        return self

    @property
    def image_format(self) -> ImageFormat:
        """How images become patches, in training and in the checkpoint."""
        return ImageFormat(self.image_side, self.min_pixels, self.max_pixels, self.patch_size)

    def dtype(self, device: torch.device) -> torch.dtype:
        """What the forward pass computes in on `device`."""
        if self.precision == "auto":
            return fast_dtype(device)
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def same_run(self, stored: dict[str, Any]) -> bool:
        """Whether a run's stored recipe is this one; fields that are newer than it have their defaults."""
        try:
            return Recipe.model_validate(stored) == self
        except ValidationError:
            return False


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
