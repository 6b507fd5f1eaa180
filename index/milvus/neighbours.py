"""The nearest rows of a Milvus collection: exact scores, ties by id, and k of them if k pass the filter.

Milvus sums in float32, scores roughly where an index is quantised, and breaks ties as it likes. So more
rows than asked for are fetched, with their vectors, until what lies behind the last of them can no longer
belong to the answer; they are checked against the filter and scored again in float64. What cannot be
settled so is scanned, within bounds.
"""

from __future__ import annotations

import numpy as np

from index.filters import Filter
from index.milvus.batches import rows_at_a_time
from index.milvus.connection import MilvusConnection
from index.milvus.rows import StoredRow, stored_row
from index.milvus.schema import INDEX_KINDS, CollectionSettings
from index.milvus.terms import expression_of
from index.types import InvalidInput, Vectors

FIELDS = ["key", "document", "vector"]

_MARGIN = 16  # rows beyond k, so that one search usually tells where the ties with the k-th end
_SCORE_SLACK = 1e-5  # what Milvus's float32 sums of unit vectors may be wrong by
_MAX_LIMIT = 16_384  # of Milvus
_MAX_RESPONSES = 4  # as many rows may be asked for at once as this many batches hold
MAX_WALKED = 200_000  # rows that one search may read and score here

Scored = tuple[float, StoredRow]


class Neighbours:
    """One search of one collection."""

    def __init__(
        self,
        connection: MilvusConnection,
        settings: CollectionSettings,
        consistency: str,
        query: Vectors,
        condition: Filter | None,
    ) -> None:
        """Prepare a search for the neighbours of a unit vector [D]."""
        self._connection = connection
        self._collection = settings.data_name
        self._kind = INDEX_KINDS[settings.index_kind]
        self._rows_at_a_time = rows_at_a_time(settings.dimensions)
        self._consistency = consistency
        self._query = query
        self._condition = condition
        self._expression = "" if condition is None else expression_of(condition)

    def nearest(self, k: int) -> list[Scored]:
        """The k best rows with their cosine similarities, best first, ties by id."""
        limit = min(_MAX_LIMIT, k * self._kind.overfetch + _MARGIN)
        most = min(_MAX_LIMIT, max(limit, _MAX_RESPONSES * self._rows_at_a_time))
        while True:
            rows = self._search(limit)
            passing = [row for row in rows if self._passes(row[1])]
            exhausted = len(rows) < limit
            if exhausted and (len(passing) >= k or self._count() <= len(rows)):
                return self._best(passing, k)
            if len(passing) > k and passing[k - 1][0] - rows[-1][0] > _SCORE_SLACK:
                return self._best(passing, k)
            if exhausted or limit == most:
                break
            limit = min(most, 4 * limit)
        if len(passing) >= k:  # more rows tie with the k-th than a search returns; Milvus chose among them
            return self._best(passing, k)
        return self._nearest_of_all(k, passing, undecided=len(passing) < len(rows))

    def _search(self, limit: int) -> list[Scored]:
        """Rows with Milvus's scores, best first."""
        found = self._connection.call(
            "search",
            self._collection,
            [self._query],
            filter=self._expression,
            limit=limit,
            output_fields=FIELDS,
            anns_field="vector",
            search_params=self._kind.search_parameters(limit),
            consistency_level=self._consistency,
        )
        return [(float(hit["distance"]), stored_row(hit["entity"])) for hit in found[0]]

    def _count(self) -> int:
        found = self._connection.call(
            "query",
            self._collection,
            filter=self._expression,
            output_fields=["count(*)"],
            consistency_level=self._consistency,
        )
        return int(found[0]["count(*)"])

    def _nearest_of_all(self, k: int, passing: list[Scored], *, undecided: bool) -> list[Scored]:
        """Score every row that meets the expression, because searching found fewer than k.

        Where these are too many, what was found is returned, unless that is because Milvus could not
        decide the filter.
        """
        if self._count() > MAX_WALKED:
            if undecided:
                raise InvalidInput(
                    "filter",
                    "The filter compares values that only a scan can decide (several numbers or strings in "
                    f"one list, or very long or large ones), in more than {MAX_WALKED} documents.",
                    "Add a condition that narrows the search.",
                )
            return self._best(passing, k)
        best: list[Scored] = []
        for rows in self._connection.walk(self._collection, self._expression, FIELDS, self._rows_at_a_time):
            walked = [(0.0, stored_row(row)) for row in rows]
            best = self._best(best + [row for row in walked if self._passes(row[1])], k)
        return best

    def _passes(self, row: StoredRow) -> bool:
        return self._condition is None or self._condition.matches(row.document.metadata)

    def _best(self, rows: list[Scored], k: int) -> list[Scored]:
        if not rows:
            return []
        vectors = np.stack([row.vector for _, row in rows]).astype(np.float64)
        # Row by row in one order, so that equal vectors have equal scores wherever they stand.
        scores = np.sum(vectors * self._query.astype(np.float64), axis=1)
        ranked = sorted(zip(scores.tolist(), (row for _, row in rows), strict=True), key=_rank)
        return ranked[:k]


def _rank(scored: Scored) -> tuple[float, str]:
    return -scored[0], scored[1].document.id
