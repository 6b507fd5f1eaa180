import random

import pytest

from model.prompts import PromptEncoder
from tests.model.tiny import build_tokenizer
from training.batches import BatchBuilder, wrong_answers
from training.mmeb import HardNegative, TrainingRow
from training.pictures import CachedFeatures
from training.sampling import Sampler, sampling_weights


@pytest.fixture(scope="module")
def prompts():
    return PromptEncoder(build_tokenizer())


@pytest.fixture(scope="module")
def builder(prompts):
    return BatchBuilder(prompts, CachedFeatures({}, 2), max_text_tokens=40, max_augment_tokens=5)


ROWS = [
    TrainingRow("a", pos_text="cat", neg_text="dog", pos_key="cat", neg_key="dog"),
    TrainingRow("b", pos_text="a cat", neg_text="sea", pos_key="cat", neg_key="sea"),
    TrainingRow("c", pos_text="dog", neg_text="cat", pos_key="dog", neg_key="cat"),
    TrainingRow("d", pos_text="cat", pos_key="cat"),
    TrainingRow("e", pos_image_path="x.png", neg_image_path="y.png"),
]


def test_documents_are_distinct_and_targets_point_at_them(builder, prompts):
    batch = builder.build("set", ROWS)
    assert len(batch.documents) == 6  # cat, a cat, dog, x.png, sea, y.png
    assert batch.target.tolist() == [0, 1, 2, 0, 3]
    assert [document.image for document in batch.documents] == [None, None, None, "x.png", None, "y.png"]
    assert batch.documents[1] == builder.document("a cat", "")
    assert batch.documents[1].ids[-1] == prompts.routes.eos_id


def test_false_negatives_are_masked_by_key_and_the_hard_negative_is_not(builder):
    masked = builder.build("set", ROWS).masked.tolist()
    cat, a_cat = 0, 1
    assert [place for place, is_masked in enumerate(masked[0]) if is_masked] == [a_cat]
    assert [place for place, is_masked in enumerate(masked[1]) if is_masked] == [cat]
    assert not any(masked[2])
    assert [place for place, is_masked in enumerate(masked[3]) if is_masked] == [a_cat]
    assert not any(masked[4])


def test_a_query_without_augmentation_ends_in_embed_and_eos(builder, prompts):
    query = builder.query(ROWS[0])
    routes = prompts.routes
    assert query.response == 2
    assert query.ids == prompts.one_pass(prompts.encode("a"))
    assert query.ids[-2:] == [routes.embed_id, routes.eos_id]


def test_an_augmentation_is_the_response_cut_to_its_limit(builder, prompts):
    routes = prompts.routes
    short, long = (
        builder.query(TrainingRow("q", pos_text="p", augmentation=text)) for text in ("yes", "123456789")
    )
    assert short.response == 5  # /augment, three bytes, EOS
    assert short.ids[-5:] == [routes.augment_id, *prompts.plain_ids("yes"), routes.eos_id]
    assert long.response == 7
    assert long.ids[-7:] == [routes.augment_id, *prompts.plain_ids("12345"), routes.eos_id]


def test_an_image_takes_its_tokens_and_the_marker_goes(builder, prompts):
    query = builder.query(TrainingRow("<|image_1|>\nWhat?", qry_image_path="x.png", pos_text="p"))
    assert query.image == "x.png"
    assert query.ids.count(prompts.routes.image_id) == 4
    assert query.ids[:-2] == prompts.encode("What?", image_tokens=4)


def test_a_long_text_is_cut_and_a_long_answer_survives(builder):
    query = builder.query(TrainingRow("word " * 100, pos_text="p", augmentation="yes"))
    assert len(query.ids) - query.response == builder.max_tokens(None)


def rows_of(name, count):
    return [TrainingRow(f"{name} {number}", pos_text="p") for number in range(count)]


def sampler(seed=0):
    return Sampler({"a": rows_of("a", 10), "b": rows_of("b", 7)}, {"a": 3.0, "b": 1.0}, 3, seed)


def test_a_resumed_sampler_sees_what_an_unbroken_one_would():
    whole, resumed = sampler(), sampler()
    steps = [whole.at(step) for step in range(60)]
    assert [resumed.at(step) for step in range(37, 60)] == steps[37:]
    order = random.Random(1).sample(range(60), 60)
    shuffled = sampler()
    assert all(shuffled.at(step) == steps[step] for step in order)


def test_a_seed_draws_the_same_batches_in_every_version():
    """Shipped checkpoints name their recipe and seed; what these mean must not change."""
    drawn = [[row.qry for row in sampler().at(step)[1]] for step in range(3)]
    assert drawn == [["b 3", "b 6", "b 0"], ["b 2", "b 1", "b 5"], ["a 4", "a 1", "a 7"]]


def test_another_seed_draws_otherwise():
    assert [sampler(0).at(s) for s in range(8)] != [sampler(1).at(s) for s in range(8)]


def test_each_pass_takes_a_row_at_most_once_and_batches_are_of_one_dataset():
    drawn = {"a": [], "b": []}
    source = sampler()
    for step in range(60):
        name, rows = source.at(step)
        assert len(rows) == 3
        assert all(row.qry.startswith(f"{name} ") for row in rows)
        drawn[name].append([row.qry for row in rows])
    for name, per_pass in (("a", 3), ("b", 2)):
        batches = drawn[name]
        assert len(batches) > per_pass
        for start in range(0, len(batches) - per_pass + 1, per_pass):
            seen = [query for batch in batches[start : start + per_pass] for query in batch]
            assert len(set(seen)) == len(seen)
    assert len(drawn["a"]) > len(drawn["b"])  # three to one by weight
    assert len({query for batch in drawn["a"] for query in batch}) == 10


def test_a_dataset_smaller_than_a_batch_is_named():
    with pytest.raises(ValueError, match="Dataset 'b' has 2 rows, fewer than a batch of 3"):
        Sampler({"b": rows_of("b", 2)}, {"b": 1.0}, 3, 0)


def test_several_hard_negatives_are_used_as_far_as_asked_for(prompts):
    more = (HardNegative("fog", "", "fog"), HardNegative("", "y.png", "y"))
    rows = [TrainingRow("a", pos_text="cat", neg_text="dog", more_negatives=more), *ROWS[4:]]
    images = CachedFeatures({}, 2)
    lengths = []
    for count in (0, 1, 2, 3):
        documents = BatchBuilder(prompts, images, 40, 5, count).build("set", rows).documents
        lengths.append(len(documents))
        assert documents[0].ids == BatchBuilder(prompts, images, 40, 5).document("cat", "").ids
    assert lengths == [2, 4, 5, 5]  # y.png is the other row's negative already


def test_weights_are_given_or_come_from_the_sizes():
    assert sampling_weights({"a": 0.3, "b": 0.1}, {"a": 1, "b": 1}, 5.0) == {"a": 0.3, "b": 0.1}
    sizes = {"a": 100, "b": 400}
    assert sampling_weights(["a", "b"], sizes, 1.0) == pytest.approx({"a": 0.2, "b": 0.8})
    assert sampling_weights(["a", "b"], sizes, 2.0) == pytest.approx({"a": 1 / 3, "b": 2 / 3})
    assert sampling_weights(["a", "b"], sizes, 1e9) == pytest.approx({"a": 0.5, "b": 0.5})


def test_wrong_answers_are_anothers_and_drawn_from_the_rows_alone():
    rows = [TrainingRow(f"question {n}", pos_text="d", augmentation=f"answer {n % 7}") for n in range(200)]
    rows.append(TrainingRow("a caption", pos_text="d"))
    drawn = wrong_answers("knowledge", rows, 0.3)
    assert drawn == wrong_answers("knowledge", rows, 0.3)
    assert drawn != wrong_answers("knowledge", rows[::-1], 0.3)[::-1]
    assert 30 < sum(map(bool, drawn)) < 90
    assert drawn[-1] == ""
    assert all(answer != row.augmentation for answer, row in zip(drawn, rows, strict=True) if answer)
    assert wrong_answers("knowledge", rows, 0.0) == [""] * len(rows)
    same = [TrainingRow("q", pos_text="d", augmentation="Paris")] * 5
    assert wrong_answers("knowledge", same, 0.9) == [""] * 5


def test_a_wrong_answer_is_read_and_not_learned(builder):
    row = TrainingRow("capital of France", pos_text="Paris", augmentation="Paris")
    right, wrong = builder.query(row), builder.query(row, "Rome")
    assert right.response > 0
    assert wrong.response == 0
    prompt = len(right.ids) - right.response
    assert wrong.ids[: prompt + 1] == right.ids[: prompt + 1]  # the route token too
    assert wrong.ids[prompt + 1 :] != right.ids[prompt + 1 :]
    assert wrong.ids[-1] == right.ids[-1]
