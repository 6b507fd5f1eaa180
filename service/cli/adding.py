"""`solomon index add`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service.cli.exits import Exit, fail
from service.cli.options import DEFAULT_URL, AsJson, Collection, Url

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.cli.client import Client
    from service.cli.failures import FailureFile
    from service.client.outcomes import Outcome

_SHOWN_FAILURES = 20


def add(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Images, folders of images, and JSONL, CSV, TSV, Parquet or MMEB files."),
    ],
    collection: Collection = "default",
    image_root: Annotated[
        Path | None,
        typer.Option(help="Folder of the image paths in tables; default: the table's own.", file_okay=False),
    ] = None,
    failures: Annotated[
        Path | None,
        typer.Option(help="Where bad items are written (JSONL); default: a new file here.", dir_okay=False),
    ] = None,
    engine: Annotated[
        Literal["server", "ray"],
        typer.Option(help="Who embeds: the server, or actors of a Ray cluster that send vectors to it."),
    ] = "server",
    ray_address: Annotated[
        str | None, typer.Option(help="The Ray cluster, for --engine ray; default: one on this machine.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Ray actors, each with an engine; default: one a GPU or machine."),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Checkpoint of the Ray actors, on each machine; default: solomon-mini.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Add documents to a collection, which is made if it is missing.

    Tables have the columns id, text, image (a path, or bytes in Parquet) and
    metadata; other columns become metadata. An image's id is its path as given,
    a row without an id gets one from its content. What the collection already
    holds with the same content is skipped, so an interrupted command is simply
    run again. Bad items are skipped, listed at the end and written to a file;
    the exit code is then 1.
    """
    from service.cli.failures import FailureFile, default_path

    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        fail(f"There is no {', '.join(missing)}.", Exit.USAGE)
    if engine == "server" and (ray_address or workers or checkpoint):
        fail("--ray-address, --workers and --checkpoint need --engine ray.", Exit.USAGE)
    if engine == "ray":
        from service.cli.ray_adding import Cluster, add_with_ray

        job = partial(
            add_with_ray, paths, collection, url, image_root, Cluster(ray_address, workers, checkpoint)
        )
    else:
        job = partial(_add_by_server, paths, collection, url, image_root)
    with FailureFile(failures or default_path(collection)) as bad:
        try:
            outcome = _track(paths, collection, bad, as_json, job)
        except KeyboardInterrupt:
            typer.echo("Interrupted; the same command goes on where this one stopped.", err=True)
            raise
    _show(collection, outcome, bad, as_json)
    if bad.count:
        raise typer.Exit(int(Exit.FAILED))
    if not outcome.added + outcome.unchanged:
        named = ", ".join(str(path) for path in paths)
        fail(f"There is nothing to add in {named}: no images, CSV, JSONL or Parquet, or no rows in them.")


def make_collection(client: Client, collection: str) -> str:
    """Make the collection if it is missing; the checkpoint of its vectors."""
    from service.cli.client import collection_path

    made = client.call("PUT", collection_path(collection))
    return str(made["model"])


def _add_by_server(
    paths: list[Path], collection: str, url: str, image_root: Path | None, report: Callable[[Outcome], None]
) -> None:
    from service.cli.client import Client
    from service.cli.uploading import server_limits, upload
    from service.corpus.reading import read_corpus

    with Client(url) as client:
        make_collection(client, collection)
        corpus = read_corpus(paths, image_root=image_root)
        upload(client, collection, corpus, server_limits(client), report)


def _track(
    paths: list[Path],
    collection: str,
    bad: FailureFile,
    quiet: bool,
    job: Callable[[Callable[[Outcome], None]], None],
) -> Outcome:
    """Run a job with a progress bar; the sum of what it reports, failures left to `bad`."""
    from service.cli.progress import job_progress
    from service.client.outcomes import Outcome
    from service.corpus.portions import count

    total = Outcome()
    with job_progress(quiet=quiet) as progress:
        task = progress.add_task(f"Adding to {collection}", total=count(paths, Path.cwd()))

        def report(part: Outcome) -> None:
            total.added += part.added
            total.unchanged += part.unchanged
            bad.write(part.failures)
            progress.advance(task, part.total)

        job(report)
        progress.update(task, total=total.added + total.unchanged + bad.count)
    return total


def _show(collection: str, outcome: Outcome, bad: FailureFile, as_json: bool) -> None:
    from service.cli.output import print_json

    if as_json:
        listed = [{"source": item.source, "reason": item.reason} for item in bad.first]
        print_json(
            {
                "collection": collection,
                "added": outcome.added,
                "unchanged": outcome.unchanged,
                "failed": bad.count,
                "failures": listed,
                "failures_file": str(bad.path) if bad.count else None,
            }
        )
        return
    for item in bad.first[:_SHOWN_FAILURES]:
        typer.echo(f"{item.source}: {item.reason}", err=True)
    if bad.count:
        typer.echo(f"All {bad.count} bad items are in {bad.path}.", err=True)
    typer.echo(f"{outcome.added} added to {collection}, {outcome.unchanged} unchanged, {bad.count} failed.")
