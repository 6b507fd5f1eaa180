"""Writes to a store until it is killed; says before each call what it will do and after it that it returned.

Run as `python -m tests.index.crash_writer FOLDER ROUND` by `test_crash`.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from pathlib import Path
from typing import Any

from index.store import FaissStore
from tests.index.documents import document


def say(*words: Any) -> None:
    print(json.dumps(words), flush=True)


def main(folder: Path, round_number: str) -> None:
    choose = random.Random(round_number)
    store = FaissStore(folder, snapshot_every=25)
    store.create("things", 8, "m")
    live = [name for name in (f"doc-{n}" for n in range(150)) if store.existing_ids("things", [name])]
    say("ready")
    for step in itertools.count():
        action = choose.choice(["put", "put", "delete", "side"])
        if action == "put":
            names = sorted({f"doc-{choose.randrange(150)}" for _ in range(choose.randint(1, 30))})
            version = f"{round_number}.{step}"
            say("try put", names, version)
            store.upsert("things", [document(name, f"{name}@{version}") for name in names])
            live = sorted({*live, *names})
            say("done")
        elif action == "delete" and live:
            name = live.pop(choose.randrange(len(live)))
            say("try delete", [name])
            store.delete_document("things", name)
            say("done")
        elif action == "side":
            exists = any(info.name == "side" for info in store.list())
            say("try drop" if exists else "try create", [])
            if exists:
                store.drop("side")
            else:
                store.create("side", 8, "m")
            say("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
