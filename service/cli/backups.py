"""`solomon index backup`, `restore` and `verify`: collections as files, and whether the disk holds them."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.exits import CommandFailed, Exit, fail
from service.cli.options import DEFAULT_URL, AsJson, Url

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_CHUNK = 2**20
_DIGEST_HEADER = "Repr-Digest"


def backup(
    collection: Annotated[str, typer.Argument(help="The collection.")],
    file: Annotated[Path, typer.Argument(help="The file to write.", dir_okay=False)],
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite the file if it exists.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Back a collection up into one file, while the server goes on serving it.

    The file holds the collection as it was when the command began: documents,
    images and vectors. It appears only when it is complete and its SHA-256 is
    right. The server needs free disk for one copy while it lasts.
    """
    from service.cli.client import Client

    if file.exists() and not force:
        fail(f"{file} exists; choose another file, or --force to overwrite it.", Exit.USAGE)
    with Client(url) as client:
        digest, size = _download(client, _path(collection, "backup"), file, quiet=as_json)
    _report(as_json, f"{collection} is in {file}", collection, file, digest, size)


def restore(
    file: Annotated[Path, typer.Argument(help="The backup.", exists=True, dir_okay=False)],
    name: Annotated[
        str | None, typer.Option("--name", help="The collection to make; unset: the one that was backed up.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the collection if it exists.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Make a collection of a backup.

    The server checks every document of it; the collection is there whole, or
    not at all. Backups of earlier versions are brought to the present format.
    """
    from service.cli.client import Client
    from service.cli.output import print_json

    collection = name or _collection_of(file)
    digest = _sha256(file)
    headers = {_DIGEST_HEADER: f"sha-256=:{base64.b64encode(digest).decode()}:"}
    headers["Content-Length"] = str(file.stat().st_size)
    with Client(url) as client, _transfer(quiet=as_json) as progress:
        if not replace and collection in _told_names(client):
            fail(f"The collection {collection!r} exists; give another --name, or --replace it.")
        task = progress.add_task(f"Restoring {collection}", total=file.stat().st_size)
        body = _upload(file, progress, task)
        path, asked = _path(collection, "backup"), {"replace": str(replace).lower()}
        with client.stream("PUT", path, content=body, headers=headers, params=asked) as response:
            response.read()
            info = response.json()
    if as_json:
        print_json(info | {"sha256": digest.hex()})
    else:
        typer.echo(f"{collection} is restored: {info['count']} documents of {info['model']}.")


def verify(
    collection: Annotated[str | None, typer.Argument(help="The collection; unset: every one.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Salvage what is sound of a damaged collection.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Read all that the server's disk holds of collections and report damage.

    Exit code 1 if anything is damaged, or documents were lost to damage and
    have not been added again since.
    """
    from service.cli.client import Client
    from service.cli.output import print_json

    with Client(url) as client:
        names = [collection] if collection is not None else _names(client)
        asked = f"?repair={str(repair).lower()}"
        found, refused = [], False
        for name in names:
            try:
                found.append(client.call("POST", _path(name, "verify") + asked))
            except CommandFailed:  # it has told why; the others are still to be read
                if collection is not None:
                    raise
                refused = True
    if as_json:
        print_json({"collections": found})
    else:
        for report in found:
            _show(report)
    if refused or any(report["damage"] or report["losses"] for report in found):
        raise typer.Exit(int(Exit.FAILED))


def _path(collection: str, what: str) -> str:
    from service.cli.client import collection_path

    return f"{collection_path(collection)}/{what}"


def _names(client: Any) -> list[str]:
    return [info["name"] for info in client.call("GET", "/collections")["collections"]]


def _told_names(client: Any) -> list[str]:
    """The collections as far as the key is told them; the server refuses to replace one unasked anyway."""
    listed = client.call_if_allowed("GET", "/collections")
    return [] if listed is None else [info["name"] for info in listed["collections"]]


def _download(client: Any, path: str, file: Path, *, quiet: bool) -> tuple[bytes, int]:
    """Write an answer's body to a file that appears when it is complete; return its SHA-256 and size."""
    temporary = file.with_name(f"{file.name}.part")
    digest = hashlib.sha256()
    try:
        with client.stream("GET", path) as response, _transfer(quiet=quiet) as progress:
            task = progress.add_task(f"Backing up to {file.name}", total=_length(response))
            with open(temporary, "wb") as target:
                for chunk in response.iter_bytes(_CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
                    progress.advance(task, len(chunk))
                target.flush()
                os.fsync(target.fileno())
            stated = response.headers.get(_DIGEST_HEADER, "")
        if base64.b64encode(digest.digest()).decode() not in stated:
            fail("The backup arrived damaged: its SHA-256 is not the server's. Try again.")
        size = temporary.stat().st_size
        temporary.replace(file)
        return digest.digest(), size
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror or error}.")
    finally:
        temporary.unlink(missing_ok=True)


def _length(response: Any) -> int | None:
    given = response.headers.get("content-length", "")
    return int(given) if given.isdecimal() else None


def _transfer(*, quiet: bool) -> Progress:
    from service.cli.progress import transfer_progress

    return transfer_progress(quiet=quiet)


def _collection_of(file: Path) -> str:
    from index.backup import read_label
    from index.types import InvalidInput

    try:
        label = read_label(file)
    except InvalidInput as error:
        fail(f"{file}: {error}", Exit.USAGE)
    if label is None:
        fail(f"{file} does not say which collection it is of; name one with --name.", Exit.USAGE)
    return label.collection


def _sha256(file: Path) -> bytes:
    with open(file, "rb") as source:
        return hashlib.file_digest(source, "sha256").digest()


def _upload(file: Path, progress: Progress, task: TaskID) -> Iterator[bytes]:
    with open(file, "rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk
            progress.advance(task, len(chunk))


def _report(as_json: bool, what: str, collection: str, file: Path, digest: bytes, size: int) -> None:
    from service.cli.output import print_json

    if as_json:
        print_json({"collection": collection, "file": str(file), "bytes": size, "sha256": digest.hex()})
    else:
        typer.echo(f"{what} ({size} bytes, SHA-256 {digest.hex()}).")


def _show(report: dict[str, Any]) -> None:
    lost = sum(loss.get("documents") or 1 for loss in report["losses"])
    found = ["damaged"] * bool(report["damage"]) + [f"{lost} lost"] * bool(lost)
    typer.echo(f"{report['name']}: {', '.join(found) or 'sound'}, {report['documents']} documents.")
    for damage in report["damage"]:
        typer.echo(f"  damage: {damage}")
    for loss in report["losses"]:
        what = loss["id"] if loss["id"] is not None else f"{loss['documents']} documents without a name"
        typer.echo(f"  lost: {what} ({loss['reason']}; noticed {loss['noticed']})")
