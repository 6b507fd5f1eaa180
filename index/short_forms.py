"""A document in few bytes, for a search to have at hand beside its vector (`index.exact_file`).

Most documents are short: an id, a line of text, a few fields. Looking one up in the log is a walk through a
database that reads whole pages, ten times for ten hits, which at a million documents costs a tenth of what
the search itself does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from index.log import DocumentLog
from index.log_snapshot import SOUND_COLUMNS
from index.records import is_sound
from index.types import Document, Vectors

FORM_BYTES = 256  # of a record: a form, with its length before it and zeros behind
_LENGTH_BYTES = 2


def short_form(document_id: bytes, text: bytes | None, media_type: bytes | None, metadata: bytes) -> bytes:
    """`FORM_BYTES` with a document as the log has it; zeros for one that does not fit."""
    quoted = (
        b"null" if value is None else json.dumps(value.decode(), ensure_ascii=False).encode()
        for value in (document_id, text, media_type)
    )
    form = b"[%s]" % b",".join((*quoted, metadata))
    if len(form) > FORM_BYTES - _LENGTH_BYTES:
        return bytes(FORM_BYTES)
    return (len(form).to_bytes(_LENGTH_BYTES, "little") + form).ljust(FORM_BYTES, b"\0")


def documents_at_hand(forms: Sequence[bytes]) -> list[Document | None]:
    """The documents of forms; None for those that are empty, or too long for one."""
    lengths = [int.from_bytes(form[:_LENGTH_BYTES], "little") for form in forms]
    held = [
        form[_LENGTH_BYTES : _LENGTH_BYTES + size] for form, size in zip(forms, lengths, strict=True) if size
    ]
    parsed = iter(json.loads(b"[%s]" % b",".join(held)))  # all at once: it takes half as long
    return [_document(*next(parsed)) if size else None for size in lengths]


def _document(
    document_id: str, text: str | None, media_type: str | None, metadata: dict[str, Any]
) -> Document:
    return Document(document_id, text, metadata, media_type)


def with_short_forms(
    walk: Iterable[tuple[Sequence[int], Vectors]], log: DocumentLog
) -> Iterator[tuple[Sequence[int], Vectors, Sequence[bytes]]]:
    """Each batch of live rows and vectors, which ascend, with the forms of the rows' documents.

    What is no longer in the log, or not as it was written, has no form: a search that needs it asks the log.
    """
    for rows, vectors in walk:
        with log.lend() as connection:
            forms = {
                found[0]: short_form(found[1], found[2], found[4], found[3])
                for found in connection.execute(
                    f"SELECT {SOUND_COLUMNS} FROM documents WHERE row BETWEEN ? AND ?", (rows[0], rows[-1])
                )
                if is_sound(found)
            }
        yield rows, vectors, [forms.get(row, bytes(FORM_BYTES)) for row in rows]
