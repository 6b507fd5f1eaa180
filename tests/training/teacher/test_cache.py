import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.teacher.cache import Reply, ReplyCache, reply_key

PARTS = st.tuples(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
REPLY = Reply("Paris", "", "<answer>Paris</answer>", 100, 10, 0.5)


@settings(deadline=None)
@given(PARTS, st.none() | st.binary(max_size=5), PARTS, st.none() | st.binary(max_size=5))
def test_keys_are_equal_only_for_equal_questions(first, first_image, second, second_image):
    same = (first, first_image) == (second, second_image)
    assert (reply_key(*first, first_image) == reply_key(*second, second_image)) is same


def test_a_reply_survives_closing_and_a_second_writer(tmp_path):
    path = tmp_path / "deep" / "cache.sqlite"
    first = ReplyCache(path)
    first.put("k", REPLY)
    second = ReplyCache(path)
    second.put("other", Reply("", "no sections", "hm", 1, 2, 3.0))
    first.close()
    second.close()
    again = ReplyCache(path)
    assert again.get("k") == REPLY
    assert again.get("other").problem == "no sections"
    assert again.get("missing") is None
    again.put("k", Reply("Rome", "", "", 1, 1, 1.0))
    assert again.get("k").answer == "Rome"
    again.close()


def test_every_reply_is_on_disk_at_once(tmp_path):
    cache = ReplyCache(tmp_path / "cache.sqlite")
    cache.put("k", REPLY)
    with sqlite3.connect(tmp_path / "cache.sqlite") as other:  # the cache is still open
        assert other.execute("SELECT answer FROM replies").fetchall() == [("Paris",)]
    other.close()
    cache.close()


def test_another_file_is_no_cache(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be looked at " * 20)
    with pytest.raises(ValueError, match="another --cache"):
        ReplyCache(path)
    assert path.read_text().startswith("not a database")
