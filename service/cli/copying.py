"""`solomon index copy`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.exits import Exit, fail
from service.cli.options import AsJson

if TYPE_CHECKING:
    from index.copying import CopySource
    from index.types import VectorStore

TOKEN = "SOLOMON_MILVUS_TOKEN"  # noqa: S105 - the variable's name
SOURCE_TOKEN = "SOLOMON_SOURCE_MILVUS_TOKEN"  # noqa: S105


@dataclass(slots=True)
class Copied:
    """What was done for one collection; `reason` says why the copy is not the source's equal."""

    collection: str
    written: int = 0
    unchanged: int = 0
    source_count: int = 0
    target_count: int = 0
    reason: str | None = None


def copy(
    source: Annotated[
        str,
        typer.Argument(help="A data directory, a Milvus URI, or a path of Milvus Lite (ends in .db)."),
    ],
    target: Annotated[str, typer.Argument(help="The same, to copy to; made if it is missing.")],
    collections: Annotated[
        list[str] | None,
        typer.Option("--collection", "-c", help="Only this one, and others so named.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy collections from one store to another, with vectors and images.

    No server may have a data directory open meanwhile, and nothing may write
    to a Milvus that is copied from. A data directory that is copied from is
    left as it is. Interrupted, the command goes on where it stopped when it is
    run again: what the target holds with the same content is not written
    again. At the end the counts are compared. The target loses nothing; it
    must hold nothing else for the counts to agree.

    SOLOMON_MILVUS_TOKEN is the token of either Milvus, if it needs one, and
    SOLOMON_SOURCE_MILVUS_TOKEN that of the source where it differs.
    """
    from index.opening import check_milvus, open_source_at, open_store_at
    from service.cli.output import print_json

    if source.rstrip("/") == target.rstrip("/"):
        fail("The source and the target are the same.", Exit.USAGE)
    token = _secret(TOKEN)
    for location in (source, target):
        try:
            check_milvus(location)
        except ValueError as error:
            fail(f"{error}.", Exit.USAGE)
    with _explained(), ExitStack() as stores:
        copied_from = open_source_at(source, _secret(SOURCE_TOKEN) or token)
        stores.callback(copied_from.close)
        copied_to = open_store_at(target, token)
        stores.callback(copied_to.close)
        names = collections or [info.name for info in copied_from.list()]
        results = [_copy(copied_from, copied_to, name, quiet=as_json) for name in names]
    if as_json:
        print_json({"collections": [asdict(result) for result in results]})
    else:
        _show(results)
    if any(result.reason is not None for result in results):
        raise typer.Exit(int(Exit.FAILED))


def _copy(source: CopySource, target: VectorStore, name: str, *, quiet: bool) -> Copied:
    from index.copying import copy_collection
    from index.types import StoreError, StoreUnreachable
    from service.cli.progress import job_progress

    result = Copied(name)
    try:
        with job_progress(quiet=quiet) as progress:
            result.source_count = source.get(name).count
            task = progress.add_task(f"Copying {name}", total=result.source_count)
            for batch in copy_collection(source, target, name):
                result.written += batch.written
                result.unchanged += batch.unchanged
                progress.update(task, advance=batch.written + batch.unchanged)
        result.source_count = source.get(name).count
        result.target_count = target.get(name).count
    except StoreUnreachable:
        raise  # nor would the next collection be copied
    except StoreError as error:
        result.reason = str(error)
        return result
    if result.target_count != result.source_count:
        result.reason = (
            f"The source has {result.source_count} documents and the target {result.target_count}. If the "
            "target has more, it held others before; if it has fewer, documents were deleted meanwhile."
        )
    return result


def _show(results: list[Copied]) -> None:
    for result in results:
        typer.echo(
            f"{result.collection}: {result.written} documents written, {result.unchanged} were there already."
        )
        if result.reason is not None:
            typer.echo(f"{result.collection}: {result.reason}", err=True)


@contextmanager
def _explained() -> Iterator[None]:
    """End the command with a message for what keeps a store from being opened, or from answering."""
    from index.types import StoreError, StoreUnreachable

    try:
        yield
    except StoreUnreachable as error:
        fail(f"{error} Run the command again to go on.", Exit.UNREACHABLE)
    except StoreError as error:
        fail(str(error))


def _secret(variable: str) -> str | None:
    return os.environ.get(variable) or None
