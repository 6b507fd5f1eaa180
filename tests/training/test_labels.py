"""Routes in the rows: by dataset, by query, and never where there is nothing to write."""

import pyarrow.parquet as pq
import pytest

from model.types import Route
from tests.training.tiny_data import write_data
from training.annotation import column_facts, with_column, write_table
from training.labels import label_by_dataset, label_by_query
from training.mmeb import read_training_rows
from training.pilot.gains import Gain, read_gains, write_gains
from training.pilot.measuring import file_hashes

CITIES = "cities.parquet"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("labels"))


@pytest.fixture
def gains(data, tmp_path):
    """The gains of cities' rows 0 to 6: -0.3 to 0.3 in steps of a tenth."""
    found = [Gain(CITIES, n, n % 2, 0.1, 0.1 + (n - 3) / 10, 3, 2) for n in range(7)]
    path = tmp_path / "gains.parquet"
    write_gains(path, found, {"files": file_hashes({CITIES: data / "train" / CITIES}), "folds": 2})
    return path


def routes(folder, dataset):
    return [row.route for row in read_training_rows(folder / "train" / f"{dataset}.parquet")]


def test_a_dataset_gets_one_route_and_rows_without_an_answer_learn_to_embed(data, tmp_path):
    both = {"cities": Route.EMBED, "colours": Route.AUGMENT}
    cities, colours = label_by_dataset(data, tmp_path, both, {"rule": "x"})
    assert routes(tmp_path, "cities") == ["embed"] * 8
    assert routes(tmp_path, "colours") == ["embed"] * 16
    assert (cities.embed, cities.without_augmentation) == (8, 0)
    assert (colours.augment, colours.embed, colours.without_augmentation) == (0, 16, 16)
    assert column_facts(tmp_path / "train" / CITIES, "route") == {"level": "dataset", "rule": "x"}
    assert read_training_rows(tmp_path / "train" / CITIES)[0].augmentation == "rome"
    label_by_dataset(tmp_path, tmp_path, {"cities": Route.AUGMENT}, {})
    assert routes(tmp_path, "cities") == ["augment"] * 8
    assert routes(tmp_path, "colours") == ["embed"] * 16


def test_a_dataset_that_the_split_does_not_name_stays_as_it_is(data, tmp_path):
    label_by_dataset(data, tmp_path, {"cities": Route.AUGMENT}, {})
    assert (tmp_path / "train" / "colours.parquet").is_symlink()
    assert routes(tmp_path, "colours") == [""] * 16
    with pytest.raises(ValueError, match=r"birds\.parquet is missing"):
        label_by_dataset(data, tmp_path, {"birds": Route.EMBED}, {})


@pytest.mark.parametrize(
    ("threshold", "augmented"), [(0.0, {4, 5, 6}), (-1.0, set(range(7))), (0.15, {5, 6})]
)
def test_a_query_is_augmented_where_its_gain_is_above_the_threshold(
    data, gains, tmp_path, threshold, augmented
):
    output = tmp_path / "output"
    (cities,) = label_by_query(data, output, gains, threshold)
    expected = ["augment" if number in augmented else "embed" for number in range(7)]
    assert routes(output, "cities") == [*expected, ""]  # row 7 was not measured
    assert (cities.augment, cities.unlabelled) == (len(augmented), 1)
    facts = column_facts(output / "train" / CITIES, "route")
    assert facts == {"level": "query", "threshold": threshold, "folds": 2}
    assert (output / "eval" / CITIES).is_file()


def test_gains_come_back_as_they_were_written(gains):
    found, facts = read_gains(gains)
    assert [round(one.gain, 6) for one in found] == [-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3]
    assert facts["files"].keys() == {CITIES}
    assert pq.read_table(gains).column("gain").to_pylist()[0] == pytest.approx(-0.3)


def test_gains_of_other_rows_are_refused(data, gains, tmp_path):
    changed = tmp_path / "changed"
    table = pq.read_table(data / "train" / CITIES)
    write_table(changed / "train" / CITIES, with_column(table, "augmentation", ["x"] * 8, {}))
    with pytest.raises(ValueError, match=r"cities\.parquet changed since"):
        label_by_query(changed, tmp_path / "output", gains)
    (changed / "train" / CITIES).unlink()
    with pytest.raises(ValueError, match="files that are missing"):
        label_by_query(changed, tmp_path / "output", gains)
    with pytest.raises(ValueError, match="holds no gains"):
        label_by_query(data, tmp_path / "output", data / "train" / CITIES)
    with pytest.raises(ValueError, match="finite"):
        label_by_query(data, tmp_path / "output", gains, float("nan"))
