"""Where the server would listen, and whether one answers already."""

from __future__ import annotations

from collections.abc import Iterator

from service.client import ClientError, Patience, ServerProblem, Solomon
from service.doctor.findings import Finding, good, missing, note
from service.listening import why_not_listen
from service.settings import Settings

_PATIENCE = Patience(seconds=0)
_TIMEOUT_SECONDS = 5.0


def examine_serving(settings: Settings, url: str) -> Iterator[Finding]:
    """Findings about the server at `url`, and about the address to listen on."""
    running = _server(url)
    yield running or note("server", f"none answers at {url}", "`solomon serve` starts one.")
    refused = why_not_listen(settings.host, settings.port)
    here = f"{settings.host}:{settings.port}"
    if refused is None:
        yield good("address", f"{here} can be listened on")
    elif running is not None and url.endswith(f":{settings.port}"):
        yield good("address", f"{here} is the running server's")
    else:
        yield missing("address", refused, "`solomon serve --port 0` takes a free port.")


def _server(url: str) -> Finding | None:
    with Solomon(url, patience=_PATIENCE, timeout=_TIMEOUT_SECONDS) as solomon:
        try:
            info = solomon.info()
        except ServerProblem as problem:
            return note("server", f"{url} answers {problem.status}: {problem}")
        except ClientError:
            return None
    return good("server", f"{url} serves {info.model['name']} with version {info.version}")
