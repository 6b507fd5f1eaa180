"""Values are checked before anything is rendered, and every one is explained."""

import json
import re

import pytest
import yaml

from service.settings import Settings
from tests.helm.cases import HUB, KEYS, MILVUS, OPEN
from tests.helm.chart import CHART, refusal

VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
README = (CHART / "README.md").read_text("utf-8")
SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
# What Kubernetes defines is not taken apart.
WHOLE = {"podSecurityContext", "securityContext", "resources.requests", "resources.limits"}


def leaves(values, path=""):
    for name, value in values.items():
        here = f"{path}{name}"
        if isinstance(value, dict) and value and here not in WHOLE and not here.endswith("labels"):
            yield from leaves(value, f"{here}.")
        else:
            yield here


@pytest.mark.parametrize("name", list(leaves(VALUES)))
def test_the_readme_explains(name):
    table = README.partition("\n## Values\n")[2]
    assert f"`{name}`" in "".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `"))


def test_the_readme_explains_nothing_that_is_not_there():
    table = README.partition("\n## Values\n")[2]
    told = re.findall(
        r"`([^`]+)`", "".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `"))
    )
    assert sorted(told) == sorted(leaves(VALUES))


def test_the_readme_names_the_settings_that_have_no_value():
    """What `extraEnv` is for."""
    templates = "".join(path.read_text("utf-8") for path in (CHART / "templates").glob("*.tpl"))
    rest = {f"SOLOMON_{field.upper()}" for field in Settings.model_fields} - set(
        re.findall(r"SOLOMON_\w+", templates)
    )
    (row,) = (line for line in README.splitlines() if line.startswith("| `extraEnv`"))
    assert set(re.findall(r"SOLOMON_\w+", row)) == rest


def closed(schema, path=""):
    if "properties" in schema:
        assert schema["additionalProperties"] is False, path
        for name, inner in schema["properties"].items():
            closed(inner, f"{path}.{name}")
    elif "items" in schema:
        closed(schema["items"], f"{path}[]")


def test_the_schema_knows_every_value_and_no_other():
    closed(SCHEMA)
    described = set()

    def walk(schema, path=""):
        for name, inner in schema.get("properties", {}).items():
            if inner.get("properties"):
                walk(inner, f"{path}{name}.")
            else:
                described.add(f"{path}{name}")

    walk(SCHEMA)
    assert described - {"global"} == set(leaves(VALUES))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({**OPEN, "replica": 3}, "replica"),
        ({**OPEN, "store": {"knd": "milvus"}}, "knd"),
        ({**OPEN, "store": {"kind": "pinecone"}}, "store.kind"),
        ({**OPEN, "limits": {"maxQueue": "many"}}, "maxQueue"),
        ({**OPEN, "model": {"augmentThreshold": 1.5}}, "augmentThreshold"),
        ({**OPEN, **MILVUS, "replicas": 0}, "replicas"),
        ({**OPEN, "limits": {"imageUrlHosts": ["https://a.example.org"]}}, "imageUrlHosts"),
        ({**OPEN, "store": {"kind": "milvus", "milvus": {"uri": "http://user:password@milvus"}}}, "uri"),
        ({**OPEN, "store": {"kind": "milvus"}}, "store.milvus.uri"),
        ({**OPEN, "autoscaling": {"enabled": True}}, "store.kind=milvus"),
        (
            {**OPEN, **MILVUS, "autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}},
            "minReplicas",
        ),
        ({}, "auth.existingSecret"),
        ({"auth": {"existingSecret": "a", "keys": ["b"]}}, "not both"),
        ({**OPEN, "model": {"source": "hub"}}, "model.hubId"),
        ({**OPEN, "model": {"source": "pvc"}}, "model.pvc.claimName"),
        ({**OPEN, "model": {"source": "init"}}, "model.init.image"),
        ({**OPEN, "ingress": {"enabled": True}}, "ingress.hosts"),
        ({**KEYS, "monitoring": {"serviceMonitor": {"enabled": True}}}, "keySecret"),
        (
            {**OPEN, "limits": {"allowedHosts": ["a"]}, "monitoring": {"serviceMonitor": {"enabled": True}}},
            "allowedHosts",
        ),
        (
            {
                **OPEN,
                "networkPolicy": {"ingressFrom": [{"podSelector": {}}]},
                "monitoring": {"serviceMonitor": {"enabled": True}},
            },
            "networkPolicy.metricsFrom",
        ),
        ({**OPEN, "limits": {"maxQueue": 255}}, "limits.maxItems"),
        ({**OPEN, "limits": {"maxBodyBytes": 2**29}}, "limits.maxTotalBodyBytes"),
        ({**OPEN, "monitoring": {"rules": {"runbookUrl": "wiki"}}}, "runbookUrl"),
        ({**OPEN, "replicas": 3}, "store.kind=milvus"),
        ({**OPEN, "gpu": {"enabled": True, "count": 2}}, "gpu.count"),
        ({**OPEN, **HUB}, "resources.requests.memory"),
        (
            {
                **OPEN,
                **HUB,
                "resources": {"requests": {"memory": "8Gi"}},
            },
            "resources.limits.memory",
        ),
        ({**OPEN, "extraEnv": [{"name": "SOLOMON_API_KEYS", "value": "secret"}]}, "auth.keys"),
        ({**OPEN, "extraEnv": [{"name": "SOLOMON_API_KEYS_FILE", "value": "/x"}]}, "auth.keys"),
        ({**OPEN, "extraEnv": [{"name": "SOLOMON_CHECKPOINT", "value": "/x"}]}, "SOLOMON_CHECKPOINT"),
        ({**OPEN, "extraEnv": [{"name": "SOLOMON_DATA_DIR", "value": "/x"}]}, "SOLOMON_DATA_DIR"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_values_are_refused_by_name(values, told):
    assert told in refusal(values)


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"name: (\w+)", (CHART / "templates" / "_env.tpl").read_text("utf-8"))))
)
def test_no_variable_that_the_chart_sets_in_any_shape_comes_from_outside(name):
    assert f"extraEnv has {name}" in refusal({**OPEN, "extraEnv": [{"name": name, "value": "x"}]})


def test_all_that_is_wrong_is_told_at_once():
    told = refusal({"store": {"kind": "milvus"}, "ingress": {"enabled": True}})
    assert all(value in told for value in ("store.milvus.uri", "auth.existingSecret", "ingress.hosts"))
