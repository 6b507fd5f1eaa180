"""`solomon pilot` as the tests call it, and a recipe that is quick enough for them."""

import json

from typer.testing import CliRunner

from tests.training.tiny_data import tiny_recipe
from training.cli import pilot_app


def call(*arguments):
    """`solomon pilot`."""
    return CliRunner().invoke(pilot_app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def recipe_file(folder, base, **changes):
    """A recipe of two quick steps as TOML; returns its path."""
    recipe = tiny_recipe(base, steps=2, batch_size=2, **changes)
    fields = {key: value for key, value in recipe.model_dump(exclude_none=True).items() if value != {}}
    tables = {key: fields.pop(key) for key in list(fields) if isinstance(fields[key], dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in table.items())]
    path = folder / "tiny.toml"
    path.write_text("\n".join(lines))
    return path
