"""The command line, `solomon`. Commands import what they need when they run, so that --help is quick."""

from __future__ import annotations

import typer

from service.cli import checkpoint, collections, doctor, embed, info, keys, metrics, ready, search, serve
from service.cli.plugins import add_plugins

EPILOG = (
    "Exit codes: 0 done; 1 something failed or was not found; 2 wrong usage; 3 the server cannot be "
    "reached or is not ready; 4 the server refused the API key; 130 interrupted."
)

app = typer.Typer(
    name="solomon",
    help="An embedding server that thinks before it embeds, but only when thinking pays.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.command("serve")(serve.serve)
app.command("embed")(embed.embed)
app.command("search")(search.search)
app.command("info")(info.info)
app.command("ready")(ready.ready)
app.command("metrics")(metrics.metrics)
app.command("doctor")(doctor.doctor)
app.add_typer(collections.app, name="index")
app.add_typer(checkpoint.app, name="checkpoint")
app.add_typer(keys.app, name="key")
add_plugins(app)


def main() -> None:
    """Run the command line."""
    app()
