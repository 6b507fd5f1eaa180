"""The arithmetic of docs/scaling.md: it is the script's, and the script's formulas hold in FAISS."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from benchmarks.index_sizing import GIB, HNSW_M, NLIST, footprints, table

DOCUMENT = Path(__file__).parents[2] / "docs" / "scaling.md"
COUNT = 2000


@pytest.mark.parametrize("dimensions", [576, 1536, 3584])
def test_the_document_has_the_tables_that_the_script_prints(dimensions: int) -> None:
    assert "\n".join(table(100_000_000, dimensions)) in DOCUMENT.read_text("utf-8")


def test_the_links_of_hnsw_take_what_the_formula_says() -> None:
    dimensions = 64
    index = faiss.IndexHNSWFlat(dimensions, HNSW_M)
    index.hnsw.efConstruction = 16
    index.add(np.random.default_rng(1).normal(size=(COUNT, dimensions)).astype(np.float32))
    measured = len(faiss.serialize_index(index)) / COUNT
    # FAISS also writes a level and an offset for each vector, 12 bytes.
    assert measured - 12 == pytest.approx(footprints(dimensions)["HNSW"].memory, rel=0.02)


def test_codes_and_centroids_of_inverted_files_take_what_the_formula_says() -> None:
    dimensions, lists = 64, 16
    index = faiss.index_factory(dimensions, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    vectors = np.random.default_rng(1).normal(size=(COUNT, dimensions)).astype(np.float32)
    index.train(vectors)
    index.add(vectors)
    measured = len(faiss.serialize_index(index)) / COUNT
    centroids_of_formula = 4 * dimensions * NLIST / (GIB / (4 * dimensions))
    codes_and_ids = footprints(dimensions)["IVF_SQ8"].memory - centroids_of_formula
    assert measured == pytest.approx(codes_and_ids + 4 * dimensions * lists / COUNT, rel=0.02)


def test_diskann_puts_a_vector_and_its_links_into_whole_sectors() -> None:
    assert footprints(64)["DiskANN"].disk == 4096 / 8  # 484 bytes each
    assert footprints(576)["DiskANN"].disk == 4096
    assert footprints(1536)["DiskANN"].disk == 2 * 4096
