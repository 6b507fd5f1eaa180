// How a result list differs from another.

/**
 * For each id of `ids`, how it moved against `reference`: {id, kind, by}; kind is same, up, down or new.
 * `missing` are the reference's ids that are not in it.
 */
export function movement(ids, reference) {
  const before = new Map(reference.map((id, rank) => [id, rank]));
  const moves = ids.map((id, rank) => {
    if (!before.has(id)) return { id, kind: "new", by: 0 };
    const by = before.get(id) - rank;
    return { id, kind: by === 0 ? "same" : by > 0 ? "up" : "down", by: Math.abs(by) };
  });
  const now = new Set(ids);
  return { moves, missing: reference.filter((id) => !now.has(id)) };
}
