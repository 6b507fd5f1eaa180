import pytest
from pydantic import ValidationError

from training.recipe import Recipe, load_recipe

SMALL = 'name = "x"\nbase = "b"\nsteps = 3\n[datasets]\na = 1.0\n'


def test_the_shipped_recipe_loads_and_keeps_the_papers_values():
    recipe = load_recipe("mini")
    assert (recipe.name, recipe.base) == ("solomon-mini", "solomon-mini-base")
    assert (recipe.lora_rank, recipe.alpha_gen) == (16, 0.1)
    assert sum(recipe.datasets.values()) == pytest.approx(1.0)


def test_a_file_is_a_recipe_too(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SMALL)
    assert load_recipe(str(path)) == Recipe(name="x", base="b", steps=3, datasets={"a": 1.0})


def test_an_unknown_name_lists_the_shipped_ones():
    with pytest.raises(ValueError, match=r"No recipe 'maxi'.*mini"):
        load_recipe("maxi")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SMALL.replace("steps = 3", "steps = 0"), "steps"),
        (SMALL.replace("steps = 3", "steps = 3\nlearning_rat = 1"), "learning_rat"),
        (SMALL.replace("steps = 3", "steps = 3\nimage_side = 100"), "image_side"),
        (SMALL.replace("steps = 3", "steps = 3\ntemperature = 0"), "temperature"),
        (SMALL.replace("steps = 3", 'steps = 3\nimage_side = "any"'), "vision_tower"),
        (SMALL.replace("steps = 3", "steps = 3\nmin_pixels = 2000000"), "min_pixels is more"),
        (SMALL.replace("a = 1.0", "a = 0.0"), "weight above 0"),
        (SMALL.replace("[datasets]", "[matryoshka]\n64 = 0\n[datasets]"), "matryoshka"),
        (SMALL.replace("steps = 3", 'steps = 3\nmode = "sometimes"'), "mode"),
        ("name = ", "is not a recipe"),
    ],
)
def test_a_wrong_recipe_names_the_field(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_recipe(str(path))


def test_a_recipe_does_not_change():
    with pytest.raises(ValidationError):
        load_recipe("mini").steps = 5


def test_a_list_of_datasets_and_images_of_any_size(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name="x"\nbase="b"\nsteps=3\ndatasets=["a"]\nimage_side="any"\nvision_tower="frozen"\n')
    recipe = load_recipe(str(path))
    assert recipe.datasets == ["a"]
    assert recipe.image_format.square_side is None


def test_a_run_of_before_a_field_existed_is_still_the_same_run():
    recipe = load_recipe("mini")
    stored = recipe.model_dump()
    assert recipe.same_run(stored)
    del stored["chunk_size"], stored["matryoshka"]
    assert recipe.same_run(stored)
    assert not recipe.same_run(stored | {"steps": 1})
    assert not recipe.same_run(stored | {"unknown": 1})
