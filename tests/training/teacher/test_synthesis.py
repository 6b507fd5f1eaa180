"""From a data folder to one with augmentations, and the command that does it."""

import json

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.training.teacher.fake_endpoint import GOOD, completion, failure
from tests.training.tiny_data import ANSWERS, write_data
from training.annotation import column_facts, with_column, write_table
from training.cli import synthesize_app
from training.mmeb import read_training_rows
from training.teacher.synthesis import SynthesisSettings, synthesize
from training.teacher.truth import GroundTruthTeacher

KEY = "sk-very-secret"


def no_progress(name, rows):
    return lambda count: None


def call(*arguments, **environment):
    """`solomon synthesize`."""
    texts = [str(argument) for argument in arguments]
    return CliRunner().invoke(synthesize_app, texts, env={"COLUMNS": "200", **environment})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("synthesis"))


def answer_by_number(received, number):
    """The right answer to all questions but one, which is refused, and one, which is malformed."""
    asked = received.text
    if "number 6" in asked:
        return failure(400, "too long")
    if "number 7" in asked:
        return completion("Delhi")
    numbered = next((n for n in range(len(ANSWERS)) if f"number {n}" in asked), None)
    return completion(GOOD.format(f"The city of {ANSWERS[numbered]}" if numbered is not None else "blue"))


def test_the_command_writes_rows_report_and_links(endpoint, data, tmp_path):
    endpoint.respond = answer_by_number
    output = tmp_path / "output"
    options = ("--data", data, "--output", output, "--base-url", endpoint.url, "--model", "Qwen/big")
    prices = ("--prompt-price", 2, "--completion-price", 10)
    result = call(*options, *prices, "--datasets", "cities", SOLOMON_TEACHER_API_KEY=KEY)
    assert result.exit_code == 0, result.output
    rows = read_training_rows(output / "train" / "cities.parquet")
    assert [row.augmentation for row in rows[:6]] == [f"The city of {answer}" for answer in ANSWERS[:6]]
    assert [row.augmentation for row in rows[6:]] == ["", ""]
    before = pq.read_table(data / "train" / "cities.parquet").drop_columns(["augmentation"])
    after = pq.read_table(output / "train" / "cities.parquet").drop_columns(["augmentation"])
    assert after.to_pydict() == before.to_pydict()
    assert read_training_rows(output / "train" / "colours.parquet")
    assert (output / "images" / "colours" / "red.png").is_file()
    facts = column_facts(output / "train" / "cities.parquet", "augmentation")
    assert (facts["teacher"], facts["model"]) == ("endpoint", "Qwen/big")

    report = json.loads((output / "synthesis.json").read_text())
    quality = report["quality"]["cities.parquet"]
    assert (quality["rows"], quality["answered"], quality["parsed"]) == (8, 6, 0.75)
    assert (quality["compared"], quality["exact"], quality["containing"]) == (6, 0.0, 1.0)
    problems = {one["row"]: one["problem"] for one in report["unanswered"]}
    assert problems.keys() == {6, 7}
    assert "400 too long" in problems[6]
    assert "malformed" in problems[7]
    cost = report["cost"]
    assert (cost["queries"], cost["requests"], cost["prompt_tokens"]) == (8, 10, 900)  # 6 + 1 + 3 requests
    assert cost["price"] == pytest.approx((900 * 2 + 90 * 10) / 1e6)
    assert "No augmentation: cities.parquet row 6" in result.output
    assert KEY not in result.output + (output / "synthesis.json").read_text()
    assert endpoint.received[0].headers["authorization"] == f"Bearer {KEY}"

    again = call(*options, "--datasets", "cities")
    assert again.exit_code == 0
    assert len(endpoint.received) == 11  # only what was refused is asked again


def test_keeping_what_is_there_asks_for_the_rest(endpoint, data, tmp_path):
    source = tmp_path / "source"
    table = pq.read_table(data / "train" / "cities.parquet")
    write_table(
        source / "train" / "cities.parquet",
        with_column(table, "augmentation", ["kept"] * 6 + ["", ""], {}),
    )
    options = ("--base-url", endpoint.url, "--model", "big", "--keep-existing")
    result = call("--data", source, "--output", source, *options)
    assert result.exit_code == 0, result.output
    rows = read_training_rows(source / "train" / "cities.parquet")
    assert [row.augmentation for row in rows] == ["kept"] * 6 + ["an answer"] * 2
    assert len(endpoint.received) == 2


def test_bad_rows_are_named_and_keep_their_place(data, tmp_path):
    source = tmp_path / "source"
    table = pq.read_table(data / "train" / "cities.parquet")
    queries = table.column("qry").to_pylist()
    queries[3] = ""
    write_table(source / "train" / "cities.parquet", with_column(table, "qry", queries, {}))
    settings = SynthesisSettings(source, tmp_path / "output", ("cities",))
    report = synthesize(GroundTruthTeacher([]), settings, no_progress)
    written = (
        pq.read_table(tmp_path / "output" / "train" / "cities.parquet").column("augmentation").to_pylist()
    )
    assert written == [answer if number != 3 else "" for number, answer in enumerate(ANSWERS)]
    assert [(one.row, "needs a query" in one.problem) for one in report.unanswered] == [(3, True)]
    assert report.quality["cities.parquet"].exact == 1.0


def test_a_trial_takes_the_first_rows_and_never_cuts_the_data_itself(data, tmp_path):
    limited = ("--teacher", "ground-truth", "--limit", 3, "--datasets", "cities, colours")
    answers = ("--positive-is-answer", "colours")
    assert call("--data", data, "--output", tmp_path, *limited, *answers).exit_code == 0
    assert len(read_training_rows(tmp_path / "train" / "cities.parquet")) == 3
    colours = read_training_rows(tmp_path / "train" / "colours.parquet")
    assert [row.augmentation for row in colours] == ["red", "", "green"]
    refused = call("--data", data, "--output", data, *limited)
    assert refused.exit_code == 2
    assert "--limit would cut" in refused.stderr
    assert len(read_training_rows(data / "train" / "cities.parquet")) == 8


@pytest.mark.parametrize("judged", [False, True])
def test_a_model_teaches_itself(data, tiny_base, tmp_path, judged):
    judge = ("--judge", tiny_base) if judged else ()
    options = ("--teacher", "self", "--checkpoint", tiny_base, *judge, "--candidates", 4)
    result = call("--data", data, "--output", tmp_path, "--datasets", "cities", *options)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "synthesis.json").read_text())
    rows = read_training_rows(tmp_path / "train" / "cities.parquet")
    kept = sum(bool(row.augmentation) for row in rows)
    assert kept == report["quality"]["cities.parquet"]["answered"]
    assert kept + len(report["unanswered"]) == len(rows)
    reasons = ("no help: rank", "the model wrote nothing")
    assert all(one["problem"].startswith(reasons) for one in report["unanswered"])
    assert report["teacher"]["candidates"] == 4


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("--model", "m"), 2, "--teacher endpoint needs --base-url"),
        (("--base-url", "http://host/v1"), 2, "--teacher endpoint needs --model"),
        (("--base-url", "http://a:b@host/v1", "--model", "m"), 2, "no user, password"),
        (("--teacher", "self"), 2, "--teacher self needs --checkpoint"),
        (("--teacher", "ground-truth", "--datasets", "birds"), 2, "birds.parquet is missing"),
        (("--teacher", "self", "--checkpoint", "/nowhere/at/all"), 1, "/nowhere/at/all"),
    ],
)
def test_wrong_usage_says_what_is_missing(data, tmp_path, arguments, code, problem):
    result = call("--data", data, "--output", tmp_path, *arguments)
    assert result.exit_code == code
    assert problem in result.stderr


def test_a_refused_key_ends_with_1_and_is_not_told(endpoint, data, tmp_path):
    endpoint.respond = lambda received, number: failure(401, f"Incorrect API key provided: {KEY}")
    options = ("--base-url", endpoint.url, "--model", "big", "--api-key-variable", "MY_KEY")
    result = call("--data", data, "--output", tmp_path, *options, MY_KEY=KEY)
    assert result.exit_code == 1
    assert "401 Incorrect API key provided: ***" in result.stderr
    assert KEY not in result.output
    assert not (tmp_path / "train").exists()


def test_a_data_folder_without_datasets_is_named(tmp_path):
    result = call("--data", tmp_path, "--output", tmp_path / "o", "--teacher", "ground-truth")
    assert result.exit_code == 2
    assert "holds no datasets" in result.stderr
