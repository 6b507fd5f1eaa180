import hashlib

import pytest

from service.auth.keys import (
    ALL_SCOPES,
    configured_keys,
    new_key,
    parse_key,
    parse_scopes,
    read_key_file,
)
from service.auth.rates import Rate, TokenBucket
from service.auth.scopes import Scope

HASH = "sha256:" + "ab" * 32


def test_a_new_key_is_known_by_its_line_which_does_not_hold_it():
    key, line = new_key([Scope.SEARCH, Scope.EMBED], "600/minute", "web")
    parsed = parse_key(line)
    assert parsed.digest == hashlib.sha256(key.encode()).digest()
    assert (parsed.name, parsed.rate) == ("web", Rate(600, 60.0))
    assert parsed.scopes == {Scope.SEARCH, Scope.EMBED}
    assert key not in line
    assert parsed.digest.hex() not in repr(parsed)
    assert len({new_key([Scope.EMBED], None, None)[0] for _ in range(100)}) == 100


def test_scopes_are_named_or_all():
    assert parse_scopes("embed, search") == parse_scopes("embed+search") == {Scope.EMBED, Scope.SEARCH}
    assert parse_scopes("all") == ALL_SCOPES
    for wrong in ("", "read", "embed+root", "all+embed"):
        with pytest.raises(ValueError, match="there are embed, search, write, admin, metrics, and all"):
            parse_scopes(wrong)


@pytest.mark.parametrize(
    "line",
    [
        "my-secret-key scopes=all",
        f"{HASH[:-2]} scopes=all",
        f"{HASH.upper()} scopes=all",
        HASH,
        f"{HASH} scopes=all scopes=embed",
        f"{HASH} scopes=all colour=red",
        f"{HASH} scopes=all rate=0/minute",
        f"{HASH} scopes=all rate=5",
        f"{HASH} scopes=all name=two/words",
    ],
)
def test_a_line_that_is_not_plain_is_refused_and_not_repeated(line):
    with pytest.raises(ValueError, match=r".+") as caught:
        parse_key(line)
    assert "my-secret-key" not in str(caught.value)


def test_plain_keys_have_every_scope():
    plain, hashed = configured_keys(["old-key", "old-key", f"{HASH} scopes=search"])
    assert (plain.scopes, plain.rate) == (ALL_SCOPES, None)
    assert hashed.scopes == {Scope.SEARCH}


def test_a_file_holds_hashed_keys_only(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# the shop\n\n{HASH} scopes=search name=shop\n")
    assert [key.name for key in read_key_file(file)] == ["shop"]
    file.write_text("\nplain-key\n")
    with pytest.raises(ValueError, match="line 2"):
        read_key_file(file)
    file.write_text(f"{HASH} scopes=search name=a\n{HASH} scopes=all name=b\n")
    with pytest.raises(ValueError, match="same digest"):
        read_key_file(file)
    file.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(ValueError, match="larger"):
        read_key_file(file)


def test_a_bucket_lets_its_rate_pass_and_says_when_the_next_may():
    now = 100.0
    bucket = TokenBucket(Rate.parse("3/minute"), lambda: now)
    assert [bucket.take() for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take() == pytest.approx(20.0)
    now += 19.0
    assert bucket.take() == pytest.approx(1.0)
    now += 1.1
    assert bucket.take() == 0.0
    now += 3600.0
    assert [bucket.take() == 0.0 for _ in range(4)] == [True, True, True, False]
