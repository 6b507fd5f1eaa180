"""The engine beside sentence-transformers: the same texts, as documents, on the same text weights.

    .venv/bin/pip install -e '.[bench]'
    .venv/bin/python -m benchmarks.plain_embedding

Documents take no decision, so both sides do the same work: tokenize, one pass, pool at the last token,
normalise. The text model, which is a Qwen2, is saved and loaded by sentence-transformers as its own;
`encode` sorts by length and runs batches of 32. The engine gets all texts at once, with all bounds that keep
others' queries quick in force.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from transformers import Qwen2Config, Qwen2Model

from benchmarks.reporting import Ratio, ratio_rows, show, surroundings, write_results
from benchmarks.running import Device, Dtype, Shape, Threads, alternating, describe, engine_settings
from benchmarks.shapes import load_shape
from benchmarks.workload import sentences
from model.engine import Engine
from model.loaded import LoadedModel
from model.types import EmbedOptions, InputType, Item

PACKAGES = ("torch", "transformers", "sentence-transformers", "numpy")


def save_text_model(loaded: LoadedModel, folder: Path) -> None:
    """Write the text model as a plain Qwen2 with its tokenizer, as sentence-transformers loads it."""
    text = loaded.model.model.language_model
    rotary = {key: value for key, value in text.config.rope_parameters.items() if key != "mrope_section"}
    kept = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "rms_norm_eps",
        "max_position_embeddings",
    )
    config = Qwen2Config(
        **{name: getattr(text.config, name) for name in kept},
        rope_parameters=rotary,
        use_sliding_window=False,
    )
    plain = Qwen2Model(config)
    plain.load_state_dict(text.state_dict())
    plain.to(text.dtype).save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)


def sentence_transformer(folder: Path, dtype: Any, device: str) -> Any:
    """The saved text model with last-token pooling and normalisation."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    transformer = Transformer(str(folder), model_kwargs={"dtype": dtype})
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="lasttoken")
    return SentenceTransformer(modules=[transformer, pooling, Normalize()], device=device)


def main(
    shape: Shape = "mini",
    texts: Annotated[int, typer.Option(min=2, help="Texts to embed.")] = 384,
    rounds: Annotated[int, typer.Option(min=1, help="Times that each side embeds them.")] = 3,
    dtype: Dtype = "auto",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Measure, print a table and write benchmarks/results/plain_embedding-SHAPE.json."""
    settings = engine_settings(dtype, device, threads)
    loaded = load_shape(shape, settings)
    chosen = (sentences() * (texts // len(sentences()) + 1))[:texts]
    frame = loaded.prompt_format
    framed = [frame.document_prefix + text + frame.document_suffix for text in chosen]
    options = EmbedOptions(input_type=InputType.DOCUMENT)
    items = [Item(text=text) for text in chosen]
    with tempfile.TemporaryDirectory() as folder:
        save_text_model(loaded, Path(folder))
        peer = sentence_transformer(Path(folder), settings.torch_dtype(), str(settings.torch_device()))
    engine = Engine(loaded, settings)
    ours, theirs = alternating(
        [
            lambda: engine.embed(items, options),
            lambda: peer.encode(framed, batch_size=32, show_progress_bar=False),
        ],
        settings.torch_device(),
        rounds,
    )
    mine = np.stack([embedding.vector for embedding in engine.embed(items[:32], options)])
    others = np.asarray(peer.encode(framed[:32], show_progress_bar=False), np.float32)
    engine.close()
    least = float(np.sum(mine * others, axis=1).min())
    ratios = [Ratio("engine / sentence-transformers, texts a second", theirs / ours)]
    figures = [
        ("engine, texts/s", f"{texts / ours:.1f}"),
        ("sentence-transformers, texts/s", f"{texts / theirs:.1f}"),
        ("least cosine between their vectors", f"{least:.6f}"),
    ]
    show(f"plain embedding, {shape}", figures, ratios)
    results = {
        "surroundings": surroundings(PACKAGES) | describe(settings),
        "shape": shape,
        "texts": texts,
        "engine_texts_per_second": texts / ours,
        "sentence_transformers_texts_per_second": texts / theirs,
        "least_cosine": least,
        "ratios": ratio_rows(ratios),
    }
    typer.echo(f"written to {write_results(f'plain_embedding-{shape}', results)}")


if __name__ == "__main__":
    typer.run(main)
