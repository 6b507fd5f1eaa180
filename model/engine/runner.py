"""Tensors in, vectors and tokens out: what the engine asks of the model, a batch at a time."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from model.baseline import TransformersDecoder
from model.decoder import Decoder
from model.engine.request import LongPrompt, Request
from model.engine.settings import EngineSettings
from model.engine.vision_cache import VisionCache
from model.kv_cache import KVCache
from model.loaded import LoadedModel
from model.rope import prompt_positions
from model.types import Vector
from model.vision import encode_images


@dataclass(frozen=True, slots=True)
class Prefilled:
    """What the single pass gives for one request.

    `vector` is `[D]`, pooled at the EOS. A query also gets P(/augment); a query that may be augmented
    also a call that gives its prompt's keys and values, `[layers, 2, kv_heads, P, head_dim]`.
    """

    vector: Vector
    augment_probability: float | None
    prompt_kv: Callable[[], Tensor] | None


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one decode step gives for one request: the vector if EOS was fed, else the next token."""

    vector: Vector | None
    token: int


class Runner:
    """Owns the weights, the KV cache and the vision cache. Call under `torch.inference_mode()`.

    A pass that raises has changed nothing that matters, so its requests can be run again.
    """

    def __init__(self, loaded: LoadedModel, settings: EngineSettings) -> None:
        self.device = settings.torch_device()
        self.dtype = settings.torch_dtype()
        self.routes = loaded.routes
        self._settings = settings
        self.decoder: Decoder | TransformersDecoder
        if settings.decoder == "solomon":
            int8_steps, threads = settings.quantises_steps(), settings.thread_count()
            self.decoder = Decoder(loaded.model, self.dtype, self.device, int8_steps, threads)
        else:
            self.decoder = TransformersDecoder(loaded.model, self.dtype, self.device)
        self._tower = loaded.model.model.visual
        weight = next(self._tower.parameters())
        if (weight.dtype, weight.device) != (self.dtype, self.device):
            self._tower = copy.deepcopy(self._tower).to(self.device, self.dtype)
        self._vision_cache = VisionCache(settings.vision_cache_items, settings.vision_cache_bytes)
        answer = settings.longest_augmentation(loaded.max_augment_tokens)
        self.cache = KVCache(
            layers=self.decoder.layer_count,
            slots=settings.max_decoding,
            kv_heads=self.decoder.kv_heads,
            capacity=loaded.max_prompt_tokens + answer + 2,  # and /augment, and EOS
            head_dim=self.decoder.head_dim,
            dtype=self.dtype,
            device=self.device,
        )
        self._banned = torch.zeros(self.decoder.vocabulary_rows, dtype=torch.bool, device=self.device)
        self._banned[list(self.routes.banned)] = True
        self._banned[self.routes.vocabulary :] = True

    def warm(self) -> None:
        """Make ready what a prefill of any size needs; in the thread that will run them."""
        self.decoder.warm(self._settings.step_tokens(0))

    def prefill(self, batch: Sequence[Request]) -> list[Prefilled]:
        """The single pass over `prompt + /embed + EOS` (queries) or the prompt (documents)."""
        lengths = [request.prefill_length for request in batch]
        hidden, kept = self.decoder.prefill(*self._inputs(batch), lengths)
        # Cropped to the prompt: the two tokens of the single pass are left behind.
        states = [partial(kept.of, row, len(request.ids)) for row, request in enumerate(batch)]
        return self._prefilled(batch, hidden, states)

    def is_long(self, request: Request) -> bool:
        """Whether its prompt is over the budget of a step, and has to be prefilled in parts."""
        return request.prefill_length > self._settings.step_tokens(request.priority)

    def prefill_part(self, request: Request) -> Prefilled | None:
        """The next part of a long prompt; the same as `prefill` gives after the last, None before."""
        if request.long_prompt is None:
            request.long_prompt = self._long_prompt(request)
        prompt, length = request.long_prompt, len(request.ids)
        start, end = prompt.done, prompt.next_end
        last = end == prompt.length
        wanted = [length - 1 - start, end - 1 - start] if last else []
        part = slice(start, end)
        hidden = self.decoder.extend(
            prompt.hidden[part], prompt.positions[:, part], wanted, prompt.states, start
        )
        prompt.done = end
        if not last:
            return None
        states = prompt.states[:, :, :, :length]
        return self._prefilled([request], hidden[None], [lambda: states])[0]

    def _long_prompt(self, request: Request) -> LongPrompt:
        hidden, positions, _ = self._inputs([request])
        length = request.prefill_length
        parts = math.ceil(length / self._settings.step_tokens(request.priority))
        decoder = self.decoder
        shape = (decoder.layer_count, 2, decoder.kv_heads, length, decoder.head_dim)
        states = torch.empty(shape, dtype=self.dtype, device=self.device)
        return LongPrompt(hidden[0], positions[:, 0], states, part=math.ceil(length / parts))

    def _prefilled(
        self, batch: Sequence[Request], hidden: Tensor, states: Sequence[Callable[[], Tensor]]
    ) -> list[Prefilled]:
        """From final hidden states at the places of `_inputs`, `[B, 2, H]`, to what each request gets."""
        vectors = _unit_vectors(hidden[:, 1])
        routing = self.decoder.logits_of(hidden[:, 0], (self.routes.embed_id, self.routes.augment_id))
        # In float32 a sure route would round to exactly 1, which no threshold could tell from the next.
        probabilities = routing.double().softmax(dim=-1)[:, 1].tolist()
        return [
            Prefilled(
                vector=vectors[row],
                augment_probability=probabilities[row] if request.is_query else None,
                prompt_kv=states[row] if request.may_augment else None,
            )
            for row, request in enumerate(batch)
        ]

    def decode(self, batch: Sequence[Request]) -> list[Decoded]:
        """Feed every request's `next_token`, and advance its slot."""
        rows = sorted(batch, key=lambda request: request.slot)  # slots side by side are read in place
        slots = [request.slot for request in rows]
        positions = [self.cache.lengths[request.slot] + request.rope_delta for request in rows]
        tokens = [request.next_token for request in rows]
        hidden = self.decoder.decode(tokens, positions, slots, self.cache)
        eos = self.routes.eos_id
        ending = [row for row, token in enumerate(tokens) if token == eos]
        going = [row for row, token in enumerate(tokens) if token != eos]
        steps: dict[int, Decoded] = {}  # by slot
        if ending:
            vectors = _unit_vectors(hidden[ending])
            steps.update((slots[row], Decoded(vectors[index], eos)) for index, row in enumerate(ending))
        if going:
            logits = self.decoder.logits(hidden[going] if ending else hidden)
            chosen = logits.masked_fill_(self._banned, -torch.inf).argmax(dim=-1).tolist()
            steps.update((slots[row], Decoded(None, token)) for row, token in zip(going, chosen, strict=True))
        for slot in slots:
            self.cache.lengths[slot] += 1
        return [steps[request.slot] for request in batch]

    def _inputs(self, batch: Sequence[Request]) -> tuple[Tensor, Tensor, Tensor]:
        """Right-padded embeddings `[B, L, H]`, positions `[3, B, L]`, and the places to read `[B, 2]`.

        The places are the prompt's last token, where the route is decided, and the EOS.
        """
        longest = max(request.prefill_length for request in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        positions = torch.zeros(3, len(batch), longest, dtype=torch.long)
        for row, request in enumerate(batch):
            tail = [self.routes.embed_id, self.routes.eos_id] if request.is_query else []
            length = request.prefill_length
            ids[row, :length] = torch.tensor(request.ids + tail)
            positions[:, row, :length] = prompt_positions(length, request.image_span)
        hidden = self.decoder.embed(ids.to(self.device))
        for row, features in self._image_features(batch).items():
            span = batch[row].image_span
            if span is not None:
                hidden[row, span.start : span.start + span.count] = features.float()
        places = torch.tensor([[len(request.ids) - 1, request.prefill_length - 1] for request in batch])
        return hidden, positions.to(self.device), places.to(self.device)

    def _image_features(self, batch: Sequence[Request]) -> dict[int, Tensor]:
        """Image tokens `[n, H]` by row; an image seen lately, or twice in the batch, is encoded once."""
        images = {row: request.image for row, request in enumerate(batch) if request.image is not None}
        distinct = {image.sha256: image for image in images.values()}
        known: dict[str, Tensor] = {}
        for sha256 in distinct:
            if (cached := self._vision_cache.get(sha256)) is not None:
                known[sha256] = cached
        missing = [image for sha256, image in distinct.items() if sha256 not in known]
        for image, features in zip(missing, encode_images(self._tower, missing), strict=True):
            known[image.sha256] = features
            # Cloned, because features of one batch are views of one tensor.
            self._vision_cache.put(image.sha256, features.clone())
        return {row: known[image.sha256] for row, image in images.items()}


def _unit_vectors(hidden: Tensor) -> npt.NDArray[np.float32]:
    """L2-normalised rows as float32 arrays. Raises `FloatingPointError` if one is not finite."""
    vectors = F.normalize(hidden.float(), dim=-1)
    if not bool(torch.isfinite(vectors).all()):
        raise FloatingPointError("The model gave a vector that is not finite.")
    array: npt.NDArray[np.float32] = vectors.cpu().numpy().copy()
    return array
