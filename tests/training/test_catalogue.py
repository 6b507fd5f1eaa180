import json

import pytest

from training.catalogue import DatasetFacts, read_catalogue


def test_facts_by_dataset(tmp_path):
    entries = {
        "flags": {"meta_task": "vqa", "domain": "in", "source": "flag-icons", "licence": "MIT"},
        "digits": {"domain": "out-of-domain"},
        "other": {},
    }
    (tmp_path / "datasets.json").write_text(json.dumps(entries))
    found = read_catalogue(tmp_path)
    assert found["flags"] == DatasetFacts("vqa", "in-domain", "flag-icons")
    assert found["digits"] == DatasetFacts("unknown", "out-of-domain", "unknown")
    assert found["other"] == DatasetFacts()


def test_a_folder_that_says_nothing(tmp_path):
    assert read_catalogue(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "must map each dataset's name"),
        ('{"a": 1}', "must map each dataset's name"),
        ('{"a": {"domain": "near"}}', "the domain of 'a' is 'near'"),
    ],
)
def test_a_broken_catalogue_is_named(tmp_path, text, said):
    (tmp_path / "datasets.json").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_catalogue(tmp_path)
