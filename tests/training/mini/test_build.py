"""The mini benchmark as a whole: its data sets, its format, and that nothing leaks between them."""

import json
from collections import Counter

import pytest
from PIL import Image

from training.catalogue import IN_DOMAIN, OUT_OF_DOMAIN, read_catalogue
from training.mini.build import HELD_OUT
from training.mini.datasets import DATASETS
from training.mini.leaks import TrainedContents, core
from training.mini.splits import Split
from training.mmeb import EvaluationRow, TrainingRow, read_evaluation_rows, read_training_rows
from training.subsets import Account, ImageRoot, evaluation_rows, training_rows

META_TASKS = {"classification", "vqa", "retrieval", "grounding"}


def files(folder, split):
    return {path.stem: path for path in (folder / split.value).glob("*.parquet")}


def test_every_row_is_mmebs_and_has_its_images(mini_data):
    folder, _ = mini_data
    root, account = ImageRoot(folder / "images"), Account()
    for path in files(folder, Split.TRAINING).values():
        assert sum(1 for _ in training_rows(path, account, root))
    for split in HELD_OUT:
        for path in files(folder, split).values():
            assert sum(1 for _ in evaluation_rows(path, account, root))
    assert account.bad == []


def test_enough_data_sets_over_the_four_meta_tasks(mini_data):
    folder, _ = mini_data
    catalogue = read_catalogue(folder)
    trained, scored = files(folder, Split.TRAINING), files(folder, Split.DEVELOPMENT)
    assert {catalogue[name].meta_task for name in trained} == META_TASKS
    assert {catalogue[name].meta_task for name in scored} == META_TASKS
    unseen = [name for name in scored if catalogue[name].domain == OUT_OF_DOMAIN]
    assert {catalogue[name].meta_task for name in unseen} == META_TASKS
    assert len(trained) >= 10
    assert len(unseen) >= 5
    assert not set(unseen) & set(trained)
    assert all(catalogue[name].domain == IN_DOMAIN for name in trained)
    assert set(catalogue) == set(trained) | set(scored) == set(DATASETS)


def test_the_description_states_what_the_files_hold(mini_data):
    folder, _ = mini_data
    described = json.loads((folder / "datasets.json").read_text())
    for name, facts in described.items():
        for split in Split:
            path = files(folder, split).get(name)
            assert facts["rows"].get(split.value) == (path and path_rows(path))
    candidates = described["unseen_knowledge"]["candidates"]
    assert candidates == {"fewest": 146, "most": 146}
    assert all(facts["source"] and facts["licence"] for facts in described.values())


def path_rows(path):
    return len(read_training_rows(path) if path.parent.name == "train" else read_evaluation_rows(path))


def test_no_evaluation_content_occurs_in_training_under_any_data_set(mini_data):
    folder, _ = mini_data
    images = folder / "images"
    shown, said = set(), set()
    for path in files(folder, Split.TRAINING).values():
        for row in read_training_rows(path):
            shown |= {row.qry_image_path, row.pos_image_path, row.neg_image_path} - {""}
            if not row.qry_image_path and not row.pos_image_path:
                said.add(core(row.qry))
    trained = {(images / path).read_bytes() for path in shown}
    pixels = {decoded(images / path) for path in shown}
    checked = Counter()
    for split in HELD_OUT:
        for name, path in files(folder, split).items():
            for row in read_evaluation_rows(path):
                for image in {row.qry_img_path, row.tgt_img_path[0]} - {""}:
                    assert (images / image).read_bytes() not in trained, (name, image)
                    assert decoded(images / image) not in pixels, (name, image)
                if not row.qry_img_path and not row.tgt_img_path[0]:
                    assert core(row.qry_text) not in said, (name, row.qry_text)
                checked[name] += 1
    assert len(checked) == len(set(files(folder, HELD_OUT[0])) | set(files(folder, HELD_OUT[1])))


def decoded(path):
    with Image.open(path) as picture:
        return picture.size, picture.convert("RGB").tobytes()


def test_calibration_and_development_share_no_query(mini_data):
    folder, _ = mini_data
    development, calibration = (files(folder, split) for split in HELD_OUT)
    assert len(calibration) >= 15

    def queries(path):
        return {(core(row.qry_text), row.qry_img_path, row.tgt_text[0]) for row in read_evaluation_rows(path)}

    named_only = {"caltech101_t2i"}  # its queries are class names; its photos differ
    for name in calibration.keys() - named_only:
        assert not queries(development[name]) & queries(calibration[name]), name


def test_a_leak_that_the_sources_bring_is_left_out_and_named(mini_data):
    folder, lines = mini_data
    assert any("the very same words" in line and "is trained on" in line for line in lines)
    kept = [row.qry_text for row in read_evaluation_rows(folder / "eval" / "captions.parquet")]
    assert not any("the very same words" in query for query in kept)


def test_candidates_are_distinct_and_the_right_one_is_first(mini_data):
    folder, _ = mini_data
    for split in HELD_OUT:
        for name, path in files(folder, split).items():
            for row in read_evaluation_rows(path):
                documents = list(zip(row.tgt_text, row.tgt_img_path, strict=True))
                assert documents.count(documents[0]) == 1, name
                assert len(documents) >= 2, name


def test_a_second_build_writes_the_same(mini_data, small_build, tmp_path):
    folder, _ = mini_data
    small_build(tmp_path, None, None, lambda line: None)
    for name in ("everyday", "phrases", "countries", "knowledge", "easy_vqa"):
        first, second = (place / "train" / f"{name}.parquet" for place in (folder, tmp_path))
        assert first.read_bytes() == second.read_bytes()
    described = json.loads((tmp_path / "datasets.json").read_text())
    assert "emoji_t2i" not in described
    assert json.loads((tmp_path / "sources.json").read_text())["easy_vqa"].startswith("easy-VQA")
    assert not list(tmp_path.rglob("*.partial"))


@pytest.fixture
def trained(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "new.png")
    contents = TrainedContents(tmp_path)
    contents.add(
        [
            TrainingRow("Find it.", pos_image_path="a.png"),
            TrainingRow("Answer the question.\nWhat is a young cow?", pos_text="calf"),
            TrainingRow("a man rides a brown horse", pos_text="someone on a horse"),
        ]
    )
    return contents


@pytest.mark.parametrize(
    ("row", "leak"),
    [
        (EvaluationRow("q", "copy.png", ["x"], [""]), "the image copy.png"),
        (EvaluationRow("q", "", [""], ["copy.png"]), "the image copy.png"),
        (EvaluationRow("q", "new.png", ["calf"], [""]), None),
        (EvaluationRow("what is a young cow", "", ["calf"], [""]), "the query"),
        (EvaluationRow("calf", "", ["What is a young cow?"], [""]), "the pair"),
        (EvaluationRow("riding", "", ["A man rides a brown horse."], [""]), "the sentence"),
        (EvaluationRow("What is a baby cow?", "", ["calf"], [""]), None),
    ],
)
def test_a_leak_is_found_by_content(trained, row, leak):
    found = trained.leak(row)
    assert found is None if leak is None else found.startswith(leak)
