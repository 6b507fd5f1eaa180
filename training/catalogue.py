"""What a data folder says of its datasets (`datasets.json`): meta-task, in- or out-of-domain, source."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CATALOGUE = "datasets.json"
UNKNOWN = "unknown"
IN_DOMAIN, OUT_OF_DOMAIN = "in-domain", "out-of-domain"
_DOMAINS = {
    **dict.fromkeys(("in", IN_DOMAIN, "in_domain"), IN_DOMAIN),
    **dict.fromkeys(("out", OUT_OF_DOMAIN, "out_of_domain"), OUT_OF_DOMAIN),
}


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """One dataset's place in a benchmark; "unknown" where the folder does not say."""

    meta_task: str = UNKNOWN
    domain: str = UNKNOWN
    source: str = UNKNOWN


def read_catalogue(data: Path) -> dict[str, DatasetFacts]:
    """The facts of every dataset that `datasets.json` names; empty where there is no such file.

    The file maps a dataset's name to an object with `meta_task`, `domain` ("in" or "out") and `source`;
    what else it holds is left alone. Raises ValueError that names the file and the dataset at fault.
    """
    path = data / CATALOGUE
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}. Build the data again.") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ValueError(f"{path} must map each dataset's name to an object (meta_task, domain, source).")
    return {name: _facts(path, name, entry) for name, entry in entries.items()}


def _facts(path: Path, name: str, entry: dict[str, Any]) -> DatasetFacts:
    domain = str(entry.get("domain") or UNKNOWN)
    if domain != UNKNOWN and domain not in _DOMAINS:
        raise ValueError(f"{path}: the domain of '{name}' is '{domain}'; it must be 'in' or 'out'.")
    return DatasetFacts(
        meta_task=str(entry.get("meta_task") or UNKNOWN),
        domain=_DOMAINS.get(domain, UNKNOWN),
        source=str(entry.get("source") or UNKNOWN),
    )
