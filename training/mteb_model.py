"""A checkpoint as a model of MTEB, the field's own evaluation (extra `mteb`).

    mteb.evaluate(MtebSolomon("runs/solomon-mini"), mteb.get_tasks(["NFCorpus"]))

MTEB's queries are embedded as queries, with the route left to the model unless `route` says otherwise, and
its documents as documents. Tasks without sides (similarity, classification, clustering) compare texts with
texts of the same kind: all of them are embedded as documents, so that nothing is written into any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType

from model.encoder import DEFAULT_CHECKPOINT, Solomon
from model.types import EmbedOptions, EngineInfo, InputType, Item, RouteChoice, Vector

if TYPE_CHECKING:
    from collections.abc import Iterable

_ORGANISATION = "solomon"  # MTEB's names are "organisation/model"


class MtebSolomon(AbsEncoder):
    """A checkpoint behind MTEB's `EncoderProtocol`."""

    def __init__(
        self,
        model_name: str | Path = DEFAULT_CHECKPOINT,
        revision: str | None = None,
        *,
        device: str | None = None,
        route: str = "auto",
        **options: Any,
    ) -> None:
        """Load a checkpoint's folder or a Qwen2-VL of the hub; `options` are those of `Solomon.load`.

        `revision` is MTEB's and must be left out: a checkpoint says itself which one it is.
        """
        if revision is not None:
            raise ValueError("A checkpoint has no revisions; give its folder alone.")
        self._load(Solomon.load(model_name, device=device, **options), route)

    @classmethod
    def of(cls, solomon: Solomon, route: str = "auto") -> MtebSolomon:
        """A checkpoint that is loaded."""
        made = cls.__new__(cls)
        made._load(solomon, route)
        return made

    def _load(self, solomon: Solomon, route: str) -> None:
        self.model = solomon
        self.route = RouteChoice(route)
        self.mteb_model_meta = _describe(solomon.info, self.route)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Vector:
        """Vectors [N, D] of unit length for the rows of MTEB's batches."""
        query = prompt_type is PromptType.query
        options = EmbedOptions(
            input_type=InputType.QUERY if query else InputType.DOCUMENT,
            route=self.route if query else RouteChoice.AUTO,
            truncate=True,
        )
        items = [item for batch in inputs for item in batch_items(batch)]
        embeddings = self.model.embed(items, options)
        if not embeddings:
            return np.zeros((0, self.model.info.dimensions), np.float32)
        return np.stack([embedding.vector for embedding in embeddings])


def batch_items(batch: Mapping[str, Any]) -> Iterator[Item | dict[str, Any]]:
    """The rows of one of MTEB's batches: columns of texts, images, or both, one of them a list at least.

    Raises ValueError for a batch of sounds or moving pictures, which no checkpoint embeds.
    """
    texts, images = batch.get("text"), batch.get("image")
    columns = [column for column in (texts, images) if column is not None]
    if not columns:
        raise ValueError(f"Only texts and images can be embedded, and the batch has {', '.join(batch)}.")
    for row in range(len(columns[0])):
        text = texts[row] if texts is not None else None
        if images is None:
            yield Item(text or " ")  # MTEB's corpora hold empty texts, which a checkpoint refuses
        else:
            yield {"text": text, "image": images[row]}


def _describe(info: EngineInfo, route: RouteChoice) -> ModelMeta:
    name = f"{_ORGANISATION}/{Path(info.model).name}"
    return ModelMeta(
        loader=None,
        name=name if route is RouteChoice.AUTO else f"{name}-{route}",
        revision=info.checkpoint_sha256[:12] or info.base_revision or "unknown",
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=info.max_prompt_tokens,
        embed_dim=info.dimensions,
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        similarity_fn_name=ScoringFunction.COSINE,
        use_instructions=True,
        training_datasets=None,
        modalities=["text", "image"],
    )
