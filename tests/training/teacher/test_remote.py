"""The endpoint teacher against a real server: parsing, repeats, cache, images, concurrency, failures."""

import base64
import threading

import pytest

from tests.training.teacher.fake_endpoint import GOOD, answering, completion, failure
from tests.training.tiny_data import COLOURS, image_rows, text_rows, write_pictures
from training.mmeb import TrainingRow
from training.teacher import prompt, remote
from training.teacher.cache import ReplyCache
from training.teacher.endpoint import EndpointSettings, EndpointUnavailable
from training.teacher.remote import Caching, EndpointTeacher

KEY = "sk-very-secret"


def silent(count):
    return None


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder)
    return folder


@pytest.fixture
def teacher(endpoint, pictures, tmp_path):
    """A function that makes a teacher; all share one cache."""

    def make(retry_malformed=False, **settings):
        chosen = EndpointSettings(
            endpoint.url, **{"model": "big", "backoff": 0.01, "timeout": 60.0, **settings}
        )
        return EndpointTeacher(chosen, KEY, Caching(tmp_path / "cache.sqlite", retry_malformed), pictures)

    return make


def test_every_row_gets_its_own_answer_in_order(endpoint, teacher):
    endpoint.respond = lambda received, number: completion(GOOD.format(f"re {received.text}"))
    rows, done = text_rows(), []
    answers = teacher().answer("cities", rows, done.append)
    assert [answer.text for answer in answers] == [f"re Query: {row.qry}" for row in rows]
    assert sum(done) == len(rows)


def test_equal_queries_are_asked_once(endpoint, teacher):
    rows = [*text_rows(), *text_rows()[:3]]
    found, done = teacher(), []
    assert all(answer.text for answer in found.answer("cities", rows, done.append))
    assert len(endpoint.received) == found.cost.queries == len(text_rows())
    assert sum(done) == len(rows)


def test_images_arrive_byte_for_byte_and_markers_do_not(endpoint, teacher, pictures):
    rows = image_rows()[::2]
    teacher().answer("colours", rows, silent)
    sent = set()
    for received in endpoint.received:
        image, text = received.body["messages"][1]["content"]
        media, encoded = image["image_url"]["url"].split(";base64,")
        assert media == "data:image/png"
        assert text["text"] == "Query: What colour?"
        sent.add(base64.b64decode(encoded))
    assert sent == {(pictures / "colours" / f"{colour}.png").read_bytes() for colour in COLOURS}


def test_a_rerun_costs_nothing_and_says_so(endpoint, teacher):
    first = teacher()
    answers = first.answer("cities", text_rows(), silent)
    assert (first.cost.prompt_tokens, first.cost.completion_tokens) == (800, 80)
    second = teacher()
    assert second.answer("cities", text_rows(), silent) == answers
    assert len(endpoint.received) == 8
    assert (second.cost.cached, second.cost.requests, second.cost.prompt_tokens) == (8, 0, 0)
    assert second.cost.cached_prompt_tokens == 800
    assert first.cost.price(2.0, 10.0) == pytest.approx(0.0016 + 0.0008)


def test_what_a_reply_depends_on_is_asked_again(endpoint, teacher, pictures, monkeypatch):
    rows = image_rows()[:1]
    original = (pictures / rows[0].qry_image_path).read_bytes()
    for number, change in enumerate(({}, {"model": "bigger"}, {"max_tokens": 99}, {"temperature": 0.3}), 1):
        teacher(**change).answer("colours", rows, silent)
        assert len(endpoint.received) == number
    monkeypatch.setattr(prompt, "VERSION", "another")
    teacher().answer("colours", rows, silent)
    assert len(endpoint.received) == 5
    (pictures / rows[0].qry_image_path).write_bytes((pictures / "colours" / "blue.png").read_bytes())
    teacher().answer("colours", rows, silent)
    assert len(endpoint.received) == 6
    (pictures / rows[0].qry_image_path).write_bytes(original)


def test_a_malformed_reply_is_asked_for_again_and_warmer(endpoint, teacher):
    endpoint.respond = lambda received, number: completion("Paris" if number < 2 else GOOD.format("Paris"))
    found = teacher()
    (answer,) = found.answer("cities", text_rows()[:1], silent)
    assert (answer.text, answer.problem) == ("Paris", "")
    assert [received.body["temperature"] for received in endpoint.received] == [0.0, 0.7, 0.7]
    assert [received.body["seed"] for received in endpoint.received] == [0, 1, 2]
    assert found.cost.completion_tokens == 30


def test_malformed_to_the_end_is_named_and_kept_until_asked_otherwise(endpoint, teacher):
    endpoint.respond = lambda received, number: completion("<reasoning>I think", finish="length")
    (answer,) = teacher().answer("cities", text_rows()[:1], silent)
    assert answer.text == ""
    assert answer.problem == "malformed: it has no <reasoning> section (cut off at 512 tokens)"
    assert len(endpoint.received) == 3
    assert teacher().answer("cities", text_rows()[:1], silent) == [answer]
    assert len(endpoint.received) == 3
    endpoint.respond = answering("Rome")
    (answer,) = teacher(retry_malformed=True).answer("cities", text_rows()[:1], silent)
    assert answer.text == "Rome"


def test_concurrency_is_used_and_bounded(endpoint, teacher):
    three = threading.Barrier(3)

    def respond(received, number):
        three.wait(60)  # nobody is answered before three are there
        return completion(GOOD.format("ok"))

    endpoint.respond = respond
    rows = [TrainingRow(f"question {number}", pos_text="x") for number in range(9)]
    answers = teacher(concurrency=3, timeout=90.0).answer("many", rows, silent)
    assert all(answer.text == "ok" for answer in answers)
    assert endpoint.most_at_once == 3


def test_one_refused_query_does_not_stop_the_others(endpoint, teacher):
    def respond(received, number):
        refused = "number 3" in received.text
        return failure(400, "too long") if refused else completion(GOOD.format("fine"))

    endpoint.respond = respond
    answers = teacher().answer("cities", text_rows(), silent)
    assert [bool(answer.text) for answer in answers] == [number != 3 for number in range(8)]
    assert answers[3].problem == "failed: the endpoint refused the query: 400 too long"


def test_an_image_that_is_missing_or_none_is_named(endpoint, teacher, pictures):
    (pictures / "broken.png").write_bytes(b"no image")
    outside = pictures.parent / "outside.png"
    outside.write_bytes((pictures / "colours" / "red.png").read_bytes())
    paths = ("gone.png", "broken.png", "../outside.png", str(outside), "")
    rows = [TrainingRow(f"query {number}", path, "x") for number, path in enumerate(paths)]
    missing, broken, above, absolute, fine = teacher().answer("odd", rows, silent)
    assert "gone.png is not in" in missing.problem
    assert "no readable image" in broken.problem
    assert "leads out of the image root" in above.problem
    assert "leads out of the image root" in absolute.problem
    assert fine.text == "an answer"
    assert len(endpoint.received) == 1


def test_an_interrupted_run_goes_on(endpoint, teacher, tmp_path):
    endpoint.respond = lambda received, number: failure(401) if number == 5 else completion(GOOD.format("ok"))
    with pytest.raises(EndpointUnavailable, match="refuses: 401"):
        teacher(concurrency=1).answer("cities", text_rows(), silent)
    assert len(endpoint.received) == 6
    endpoint.respond = answering("ok")
    found = teacher()
    assert all(answer.text == "ok" for answer in found.answer("cities", text_rows(), silent))
    assert (found.cost.cached, len(endpoint.received)) == (5, 9)


def test_an_endpoint_that_went_away_ends_the_run(endpoint, teacher, monkeypatch):
    monkeypatch.setattr(remote, "FAILURES_IN_A_ROW", 4)
    endpoint.respond = lambda received, number: failure(503) if number >= 2 else completion(GOOD.format("ok"))
    with pytest.raises(EndpointUnavailable, match="4 queries in a row got no reply"):
        teacher(concurrency=1, attempts=2).answer("cities", text_rows(), silent)
    assert len(endpoint.received) == 2 + 4 * 2


def test_the_key_is_nowhere_but_in_the_header(endpoint, teacher, tmp_path, caplog):
    caplog.set_level("DEBUG")
    endpoint.respond = lambda received, number: (
        failure(500, f"bad key {KEY}") if number == 0 else completion(GOOD.format("ok"))
    )
    found = teacher()
    found.answer("cities", text_rows(), silent)
    assert KEY not in caplog.text
    assert KEY not in str(found.facts)
    assert all(KEY not in str(received.body) for received in endpoint.received)
    ReplyCache(tmp_path / "cache.sqlite").close()
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.glob("cache.sqlite*"))
