"""A checkpoint as a model of MTEB, the field's own evaluation (extra `mteb`).

    mteb.evaluate(MtebSolomon("runs/solomon-mini"), mteb.get_tasks(["NFCorpus"]))

MTEB's queries are embedded as queries, behind the task's own instruction and with the route left to the
model unless `route` says otherwise, and its documents as documents. Tasks without sides (similarity,
classification, clustering) compare texts with texts of the same kind: all of them are embedded as documents,
without an instruction, so that nothing is written into any.

MTEB keeps results by a model's name, revision and experiment. A forced route is part of the name; a threshold
or a precision that the checkpoint was loaded with in place of its own is the experiment.
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
        self.mteb_model_meta = _describe(solomon.info, self.route, solomon.overrides)

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
        """Vectors [N, D] of unit length for the rows of MTEB's batches, of which one is held at a time.

        Raises ValueError for a `precision` of MTEB's, which would name the results by what was not done.
        """
        if kwargs.get("precision") not in (None, "float32"):
            raise ValueError(f"Vectors are float32; leave out precision={kwargs['precision']!r}.")
        options = self._options(task_metadata, prompt_type)
        vectors = [
            embedding.vector
            for batch in inputs
            for embedding in self.model.embed(list(batch_items(batch)), options)
        ]
        return np.stack(vectors) if vectors else np.zeros((0, self.model.info.dimensions), np.float32)

    def _options(self, task_metadata: Any, prompt_type: PromptType | None) -> EmbedOptions:
        if prompt_type is not PromptType.query:
            return EmbedOptions(InputType.DOCUMENT, truncate=True)
        instruction = self.get_task_instruction(task_metadata, prompt_type) or None
        return EmbedOptions(InputType.QUERY, instruction, self.route, truncate=True)


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


def _describe(info: EngineInfo, route: RouteChoice, overrides: Mapping[str, Any]) -> ModelMeta:
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
        experiment_kwargs=dict(overrides) or None,
    )
