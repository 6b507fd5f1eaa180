"""Everything that the API does can be done from the command line: each call has its command."""

import pytest
from typer.testing import CliRunner

from service.app import create_app
from service.cli import app
from service.settings import Settings

# The command that makes a call, with the option where it takes one.
COMMANDS = {
    "POST /embed": "embed",
    "POST /search": "search",
    "GET /collections": "index list",
    "PUT /collections/{name}": "index create",
    "GET /collections/{name}": "index show",
    "DELETE /collections/{name}": "index drop",
    "POST /collections/{name}/documents": "index add",
    "POST /collections/{name}/documents/missing": "index add",
    "GET /collections/{name}/documents/{id}": "index get",
    "GET /collections/{name}/documents/{id}/image": "index get --image",
    "DELETE /collections/{name}/documents/{id}": "index remove",
    "GET /collections/{name}/backup": "index backup",
    "PUT /collections/{name}/backup": "index restore",
    "POST /collections/{name}/verify": "index verify",
    "POST /collections/{name}/rebuild": "index rebuild",
    "GET /collections/{name}/rebuild": "index rebuild --status",
    "DELETE /collections/{name}/rebuild": "index rebuild --stop",
    "GET /info": "info",
    "GET /healthz": "ready --live",
    "GET /readyz": "ready",
    "GET /metrics": "metrics",
    # The same as above in OpenAI's shape, for its clients.
    "POST /v1/embeddings": "embed",
    "GET /v1/models": "info",
    "GET /v1/models/{model}": "info",
}
NO_COMMAND = {"GET /problems/{slug}": "commands tell a problem in its own words"}

# The option or argument for each member that a body may have.
OPTIONS = {
    "EmbedRequest": {
        "input": "--jsonl",
        "input_type": "--input-type",
        "instruction": "--instruction",
        "route": "--route",
        "augment_threshold": "--augment-threshold",
        "max_augment_tokens": "--max-augment-tokens",
        "dimensions": "--dimensions",
        "truncate": "--truncate",
        "encoding_format": "--json",  # numbers, which every script reads
    },
    "SearchRequest": {
        "query": "--image",
        "vector": "--vector",
        "collection": "--collection",
        "k": "-k",
        "filter": "--filter",
        "instruction": "--instruction",
        "route": "--route",
        "augment_threshold": "--augment-threshold",
        "max_augment_tokens": "--max-augment-tokens",
    },
}


@pytest.fixture(scope="module")
def document():
    def never(opening):
        raise AssertionError

    return create_app(Settings(), never).openapi()


def usage(command):
    shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0, shown.output
    return shown.output


def test_every_call_has_a_command_and_no_other(document):
    calls = {f"{method.upper()} {path}" for path, each in document["paths"].items() for method in each}
    assert calls == COMMANDS.keys() | NO_COMMAND.keys()


@pytest.mark.parametrize("command", sorted(set(COMMANDS.values())))
def test_every_command_is_there(command):
    words, _, option = command.partition(" --")
    assert f"--{option}" in usage(words) if option else "Usage" in usage(words)


@pytest.mark.parametrize(("body", "command"), [("EmbedRequest", "embed"), ("SearchRequest", "search")])
def test_every_member_of_a_body_has_an_option(document, body, command):
    options = OPTIONS[body]
    assert document["components"]["schemas"][body]["properties"].keys() == options.keys()
    shown = usage(command)
    assert [option for option in options.values() if option not in shown] == []
