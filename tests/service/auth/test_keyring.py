"""The keys of a server while their file changes under it."""

import hmac
import os

import pytest

from service.auth.keyring import Keyring
from service.auth.keys import new_key
from service.auth.scopes import Scope


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def write(file, *lines):
    file.write_text("\n".join(lines))


def made(scopes=(Scope.SEARCH,), rate=None, name=None):
    return new_key(scopes, rate, name)


def test_without_keys_none_is_needed():
    assert not Keyring([], None).needed


def test_an_empty_file_lets_nobody_in(tmp_path, clock):
    file = tmp_path / "keys"
    write(file, "# nobody yet")
    ring = Keyring([], file, clock)
    assert ring.needed
    assert ring.find("") is None


def test_keys_come_and_go_with_the_file(tmp_path, clock):
    file = tmp_path / "keys"
    (first, line), (second, other) = made(), made()
    write(file, line)
    ring = Keyring(["plain"], file, clock)
    assert ring.find(first)
    assert not ring.find(second)
    write(file, other, "")
    clock.now += 2
    assert not ring.find(first)
    assert ring.find(second)
    assert ring.find("plain")


def test_a_secret_that_is_swapped_by_its_link_is_noticed(tmp_path, clock):
    (first, line), (second, other) = made(), made()
    for name, content in (("a", line), ("b", other)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "keys", content)
    link = tmp_path / "..data"
    link.symlink_to("a")
    ring = Keyring([], link / "keys", clock)
    assert ring.find(first)
    (tmp_path / "new").symlink_to("b")
    os.replace(tmp_path / "new", link)
    clock.now += 2
    assert ring.find(second)
    assert not ring.find(first)


@pytest.mark.parametrize("damage", ["malformed", "missing"])
def test_a_file_that_breaks_changes_nothing(tmp_path, clock, damage):
    file = tmp_path / "keys"
    key, line = made()
    write(file, line)
    ring = Keyring([], file, clock)
    if damage == "missing":
        file.unlink()
    else:
        write(file, "what is this")
    assert not ring.broken
    clock.now += 2
    assert ring.find(key)
    assert ring.broken
    replacement, line = made()
    write(file, line, "# whole again")
    clock.now += 2
    assert ring.find(replacement)
    assert not ring.find(key)
    assert not ring.broken


def test_a_file_that_comes_back_as_it_was_is_broken_no_longer(tmp_path, clock):
    file, elsewhere = tmp_path / "keys", tmp_path / "elsewhere"
    key, line = made()
    write(file, line)
    ring = Keyring([], file, clock)
    file.rename(elsewhere)
    clock.now += 2
    assert ring.find(key)
    assert ring.broken
    elsewhere.rename(file)
    clock.now += 2
    assert ring.find(key)
    assert not ring.broken


def test_a_reload_does_not_refill_what_a_key_has_spent(tmp_path, clock):
    file = tmp_path / "keys"
    secret, line = made(rate="2/hour", name="shop")
    write(file, line)
    ring = Keyring([], file, clock)
    assert [ring.take_call(ring.find(secret)) for _ in range(2)] == [0.0, 0.0]
    write(file, line, "# a comment")
    clock.now += 2
    assert ring.take_call(ring.find(secret)) > 1000
    write(file, line.replace("2/hour", "5/hour"))
    clock.now += 2
    assert ring.take_call(ring.find(secret)) == 0.0


def test_every_key_is_compared_whichever_matches(clock, monkeypatch):
    compared = []
    compare = hmac.compare_digest

    def noting(first, second):
        compared.append(second)
        return compare(first, second)

    ring = Keyring(["first", "second", "third"], None, clock)
    monkeypatch.setattr(hmac, "compare_digest", noting)
    for presented in ("first", "third", "fourth", ""):
        compared.clear()
        assert (ring.find(presented) is not None) == (presented in ("first", "third"))
        assert len(compared) == 3
