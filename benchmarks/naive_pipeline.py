"""Routing, answering and embedding without an engine: transformers' `generate()`, then a second forward.

This is what one writes around a Qwen2-VL today, and what the papers time: the model writes its first token
(the route) and, after `/augment`, its answer; then query and answer are encoded again and pooled at EOS. It
is batched as well as transformers can: prompts sorted by length, left-padded for generation, rows that
choose `/embed` stop there, right-padded and sorted again for the second pass, no logits in it. Weights,
dtype and threads are those of the engine that it is compared with. Nothing is shared with the engine but
the tokenizing of prompts and the cutting of images, which are not timed on either side alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from benchmarks.workload import Query
from model.images import PreparedImage, prepare_image
from model.loaded import LoadedModel
from model.prompts import PromptEncoder
from model.types import Route, RouteChoice


@dataclass(frozen=True, slots=True)
class NaiveResult:
    """What the pipeline gives for one query."""

    vector: npt.NDArray[np.float32]
    route: Route
    answer_ids: list[int]


@dataclass(frozen=True, slots=True)
class _Prompt:
    ids: list[int]
    image: PreparedImage | None
    threshold: float


class NaivePipeline:
    """`generate()` and re-encode over one loaded model."""

    def __init__(self, loaded: LoadedModel, batch_size: int, answer_tokens: int) -> None:
        self._loaded = loaded
        self._model = loaded.model.eval()
        self._routes = loaded.routes
        self._encoder = PromptEncoder(loaded.tokenizer, loaded.prompt_format)
        self._batch_size = batch_size
        self._answer_tokens = answer_tokens
        self._device = next(self._model.parameters()).device
        rows = self._model.config.text_config.vocab_size
        self._banned = [*self._routes.banned, *range(self._routes.vocabulary, rows)]

    @torch.inference_mode()
    def run(self, queries: Sequence[Query], route: RouteChoice = RouteChoice.AUTO) -> list[NaiveResult]:
        """Every query's result, in order."""
        prompts = [self._prompt(query) for query in queries]
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index].ids))
        results: dict[int, NaiveResult] = {}
        for start in range(0, len(order), self._batch_size):
            members = order[start : start + self._batch_size]
            batch = [prompts[index] for index in members]
            written = self._generate(batch, route)
            whole = [self._whole(prompt, tokens) for prompt, tokens in zip(batch, written, strict=True)]
            vectors = self._encode(whole, batch)
            for index, tokens, vector in zip(members, written, vectors, strict=True):
                chosen = Route.AUGMENT if tokens[0] == self._routes.augment_id else Route.EMBED
                results[index] = NaiveResult(vector, chosen, tokens[1:])
        return [results[index] for index in range(len(prompts))]

    def _prompt(self, query: Query) -> _Prompt:
        loaded = self._loaded
        data = query.item.image
        image = None if data is None else prepare_image(data, loaded.image_format)
        ids = self._encoder.encode(query.item.text, None, image.token_count if image else 0)
        return _Prompt(ids, image, loaded.threshold if query.threshold is None else query.threshold)

    def _generate(self, batch: Sequence[_Prompt], route: RouteChoice) -> list[list[int]]:
        """The tokens that each row writes: its route, then the answer without EOS."""
        longest = max(len(prompt.ids) for prompt in batch)
        ids = torch.full((len(batch), longest), self._routes.eos_id)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(batch):
            ids[row, longest - len(prompt.ids) :] = torch.tensor(prompt.ids)
            mask[row, longest - len(prompt.ids) :] = 1
        rules = _RouteFirst(
            self._loaded, [prompt.threshold for prompt in batch], route, self._banned, longest
        )
        self._model.model.rope_deltas = None  # an earlier batch's, which text alone would go on with
        generated = self._model.generate(
            **self._inputs(ids, mask, batch),
            max_new_tokens=1 + self._answer_tokens,
            do_sample=False,
            eos_token_id=[self._routes.eos_id, self._routes.embed_id],
            pad_token_id=self._routes.eos_id,
            logits_processor=LogitsProcessorList([rules]),
        )
        written = generated[:, longest:].tolist()
        return [[row[0], *(token for token in row[1:] if token != self._routes.eos_id)] for row in written]

    def _whole(self, prompt: _Prompt, written: list[int]) -> list[int]:
        return [*prompt.ids, *written, self._routes.eos_id]

    def _encode(
        self, sequences: Sequence[list[int]], batch: Sequence[_Prompt]
    ) -> list[npt.NDArray[np.float32]]:
        """The second pass, in halves of like length where an answer makes a row much longer than others."""
        order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
        vectors: dict[int, npt.NDArray[np.float32]] = {}
        for group in _split_where_it_pays(order, [len(sequence) for sequence in sequences]):
            longest = len(sequences[group[-1]])
            ids = torch.full((len(group), longest), self._routes.eos_id)
            mask = torch.zeros_like(ids)
            for row, index in enumerate(group):
                ids[row, : len(sequences[index])] = torch.tensor(sequences[index])
                mask[row, : len(sequences[index])] = 1
            self._model.model.rope_deltas = None
            hidden = self._model.model(
                **self._inputs(ids, mask, [batch[index] for index in group]), use_cache=False
            ).last_hidden_state
            ends = torch.tensor([len(sequences[index]) - 1 for index in group], device=self._device)
            pooled = F.normalize(hidden[torch.arange(len(group), device=self._device), ends].float(), dim=-1)
            vectors.update(zip(group, pooled.cpu().numpy(), strict=True))
        return [vectors[index] for index in range(len(sequences))]

    def _inputs(self, ids: Tensor, mask: Tensor, batch: Sequence[_Prompt]) -> dict[str, Tensor]:
        inputs = {"input_ids": ids.to(self._device), "attention_mask": mask.to(self._device)}
        images = [prompt.image for prompt in batch if prompt.image is not None]
        if images:
            patches = torch.cat([image.patches for image in images])
            inputs["pixel_values"] = patches.to(self._device, self._model.dtype)
            inputs["image_grid_thw"] = torch.tensor([image.grid_thw for image in images], device=self._device)
            inputs["mm_token_type_ids"] = (inputs["input_ids"] == self._routes.image_id).int()
        return inputs


class _RouteFirst(LogitsProcessor):
    """Lets the first token be a route, by the threshold or as forced, and bans special tokens after it."""

    def __init__(
        self,
        loaded: LoadedModel,
        thresholds: Sequence[float],
        route: RouteChoice,
        banned: Sequence[int],
        prompt_length: int,
    ) -> None:
        self._pair = [loaded.routes.embed_id, loaded.routes.augment_id]
        self._thresholds = thresholds
        self._route = route
        self._banned = list(banned)
        self._prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores with everything else at minus infinity; `[B, V]` -> `[B, V]`."""
        if input_ids.shape[1] > self._prompt_length:
            scores[:, self._banned] = -torch.inf
            return scores
        chance = scores[:, self._pair].double().softmax(-1)[:, 1]
        if self._route is RouteChoice.AUTO:
            augment = chance >= torch.tensor(self._thresholds, device=scores.device, dtype=torch.double)
        else:
            augment = torch.full_like(chance, self._route is RouteChoice.AUGMENT, dtype=torch.bool)
        chosen = torch.tensor(self._pair, device=scores.device)[augment.long()]
        return torch.full_like(scores, -torch.inf).scatter(1, chosen[:, None], 0.0)


def _split_where_it_pays(order: list[int], lengths: Sequence[int]) -> list[list[int]]:
    """The rows as one batch, or as two where the padding that this saves is worth a second pass."""
    sorted_lengths = [lengths[index] for index in order]
    whole = sorted_lengths[-1] * len(order)
    cuts = [
        (sorted_lengths[cut - 1] * cut + sorted_lengths[-1] * (len(order) - cut), cut)
        for cut in range(1, len(order))
    ]
    best, cut = min(cuts, default=(whole, 0))
    return [order[:cut], order[cut:]] if best < 0.8 * whole else [order]
