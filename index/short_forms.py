"""A document in few bytes, for a search to have at hand beside its vector (`index.exact_file`).

Most documents are short: an id, a line of text, a few fields. Looking one up in the log is a walk through a
database that reads whole pages, ten times for ten hits, which at a million documents costs a tenth of what
the search itself does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from index.log import DocumentLog
from index.log_snapshot import SOUND_COLUMNS
from index.records import is_sound
from index.types import Document, Vectors

FORM_BYTES = 256  # of a record: a form, with its length before it and zeros behind
_LENGTH_BYTES = 2

_parse = json.JSONDecoder().raw_decode


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


def document_at_hand(record: bytes, start: int) -> Document | None:
    """The document whose form begins there in a record; None where there is none."""
    begin = start + _LENGTH_BYTES
    length = int.from_bytes(record[start:begin], "little")
    if not length:
        return None
    document_id, text, media_type, metadata = _parse(record[begin : begin + length].decode())[0]
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
