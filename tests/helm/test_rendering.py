"""Every set of values renders to manifests that Kubernetes' own schemas accept, and does what was asked."""

import kubernetes_validate
import pytest
import yaml

from service.auth.keys import ALL_SCOPES, digest_of, new_key, read_key_file
from service.auth.scopes import Scope
from service.settings import Settings
from tests.helm.cases import CASES, EVERYTHING, KEYS, MILVUS, OPEN
from tests.helm.chart import CHART, FULL_NAME, environment, helm, one, pod, render

KUBERNETES = ("1.27", "1.32")
# Of the Prometheus operator, whose schemas Kubernetes does not ship.
OPERATORS = {"ServiceMonitor", "PrometheusRule"}


@pytest.fixture(scope="module")
def everything():
    return render(EVERYTHING)


@pytest.mark.parametrize("name", CASES)
def test_lint(name):
    done = helm("lint", str(CHART), "--strict", values=CASES[name])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CASES)
def test_kubernetes_schemas_accept_what_is_rendered(name):
    manifests = render(CASES[name])
    checked = [manifest for manifest in manifests if manifest["kind"] not in OPERATORS]
    assert {"Service"} < {manifest["kind"] for manifest in checked}
    for manifest in checked:
        for version in KUBERNETES:
            kubernetes_validate.validate(manifest, version, strict=True)


def as_the_pod_has_it(key, value):
    """A variable's value; what is taken from elsewhere is made up."""
    if isinstance(value, str):
        return value
    return "2" if "resourceFieldRef" in value else "from-a-secret"


@pytest.mark.parametrize("name", CASES)
def test_every_variable_is_a_setting_with_a_valid_value(name, monkeypatch, tmp_path):
    manifests = render(CASES[name])
    variables = environment(manifests)
    given = {key: value for key, value in variables.items() if key.startswith("SOLOMON_")}
    known = {f"SOLOMON_{field.upper()}" for field in Settings.model_fields} | {"SOLOMON_CACHE_DIR"}
    assert set(given) <= known
    for key, value in given.items():
        monkeypatch.setenv(key, as_the_pod_has_it(key, value))
    if "SOLOMON_API_KEYS_FILE" in given:  # which is not mounted here
        made = [m["stringData"]["api-keys"] for m in manifests if m["kind"] == "Secret"]
        (tmp_path / "api-keys").write_text(made[0] if made else new_key([Scope.EMBED], None, None)[1])
        monkeypatch.setenv("SOLOMON_API_KEYS_FILE", str(tmp_path / "api-keys"))
    assert Settings().port == 8080


@pytest.mark.parametrize("name", CASES)
def test_pods_may_do_nothing_that_they_need_not(name):
    spec = pod(render(CASES[name]))
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    for container in spec["containers"] + spec.get("initContainers", []):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        known = {volume["name"] for volume in spec["volumes"]} | {"data"}
        assert mounted <= known


def test_the_embedded_index_is_one_pod_with_a_volume_that_stays():
    manifests = render(KEYS)
    workload = one(manifests, "StatefulSet")
    assert workload["spec"]["replicas"] == 1
    (claim,) = workload["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert workload["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
    assert environment(manifests)["SOLOMON_STORE"] == "faiss"
    assert one(manifests, "Service", f"{FULL_NAME}-headless")["spec"]["clusterIP"] == "None"


def test_milvus_is_a_deployment_of_many_that_loses_no_pod_while_it_rolls():
    manifests = render({**OPEN, **MILVUS})
    spec = one(manifests, "Deployment")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert environment(manifests)["SOLOMON_STORE"] == "http://milvus.milvus:19530"
    assert one(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert not [m for m in manifests if m["kind"] in ("StatefulSet", "PersistentVolumeClaim")]


def test_scaling_follows_the_queue_and_falls_back_to_the_cpu(everything):
    scaler = one(everything, "HorizontalPodAutoscaler")["spec"]
    kinds = [metric["type"] for metric in scaler["metrics"]]
    assert kinds == ["Pods", "Resource"]
    assert scaler["metrics"][0]["pods"]["metric"]["name"] == "solomon_queue_depth"
    assert scaler["scaleTargetRef"]["name"] == one(everything, "Deployment")["metadata"]["name"]
    assert "replicas" not in one(everything, "Deployment")["spec"], (
        "the autoscaler's figure is not overwritten"
    )


@pytest.mark.parametrize("name", CASES)
def test_the_grace_period_covers_every_step_of_stopping(name):
    manifests = render(CASES[name])
    variables = environment(manifests)
    steps = float(variables["SOLOMON_DRAIN_SECONDS"]) + float(variables["SOLOMON_GRACE_SECONDS"])
    readiness = pod(manifests)["containers"][0]["readinessProbe"]
    assert pod(manifests)["terminationGracePeriodSeconds"] >= steps + 10
    noticed = readiness["failureThreshold"] * readiness["periodSeconds"] + readiness["timeoutSeconds"]
    assert noticed < float(variables["SOLOMON_DRAIN_SECONDS"])


def keys_secret(manifests):
    """The name of the Secret, and its key, that are mounted where the server reads its keys."""
    spec = pod(manifests)
    (mount,) = (m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "keys")
    (volume,) = (v for v in spec["volumes"] if v["name"] == "keys")
    (item,) = volume["secret"]["items"]
    assert "subPath" not in mount, "a file mounted so does not follow the Secret"
    assert environment(manifests)["SOLOMON_API_KEYS_FILE"] == f"{mount['mountPath']}/{item['path']}"
    return volume["secret"]["secretName"], item["key"]


def test_keys_come_from_a_secret_that_is_mounted():
    assert keys_secret(render(KEYS)) == ("solomon-keys", "api-keys")
    named = {"auth": {"existingSecret": "solomon-keys", "existingSecretKey": "lines"}}
    assert keys_secret(render(named)) == ("solomon-keys", "lines")
    assert "SOLOMON_API_KEYS_FILE" not in environment(render(OPEN))


def test_keys_in_the_values_are_hashed_and_a_change_of_them_restarts_nothing(tmp_path):
    key, line = new_key([Scope.SEARCH], None, "shop")
    manifests = render({"auth": {"keys": ["plain one", line]}})
    name, entry = keys_secret(manifests)
    lines = one(manifests, "Secret", name)["stringData"][entry]
    assert "plain one" not in lines
    (tmp_path / "keys").write_text(lines)
    assert [(found.digest, found.scopes) for found in read_key_file(tmp_path / "keys")] == [
        (digest_of("plain one"), ALL_SCOPES),
        (digest_of(key), {Scope.SEARCH}),
    ]
    assert one(manifests, "StatefulSet") == one(render({"auth": {"keys": ["two"]}}), "StatefulSet")


@pytest.mark.parametrize(
    ("resources", "taken"),
    [
        ({}, "requests.cpu"),
        ({"limits": {"cpu": "1500m", "memory": "6Gi"}}, "limits.cpu"),
        ({"requests": {"cpu": None}}, None),
    ],
)
def test_threads_follow_the_resources_of_the_pod(resources, taken):
    found = environment(render({**OPEN, "resources": resources})).get("SOLOMON_THREADS")
    assert (found and found["resourceFieldRef"]["resource"]) == taken
    given = environment(render({**OPEN, "resources": resources, "model": {"threads": 3}}))
    assert given["SOLOMON_THREADS"] == "3"


def test_a_stateful_pod_that_never_becomes_ready_can_be_replaced():
    assert one(render(OPEN), "StatefulSet")["spec"]["podManagementPolicy"] == "Parallel"


def test_a_gpu_is_asked_for_with_its_image_and_its_nodes(everything):
    spec = pod(everything)
    (container,) = spec["containers"]
    assert container["image"].endswith("-cuda")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert spec["nodeSelector"] == {"gpu": "l4", "pool": "search"}
    assert {toleration["key"] for toleration in spec["tolerations"]} == {"nvidia.com/gpu", "search"}
    assert "nvidia.com/gpu" not in str(render(OPEN))


def test_a_pod_with_a_gpu_never_falls_back_to_the_cpu():
    (container,) = pod(render(CASES["gpu"]))["containers"]
    assert {"name": "SOLOMON_DEVICE", "value": "cuda"} in container["env"]
    (container,) = pod(render(OPEN))["containers"]
    assert "SOLOMON_DEVICE" not in str(container["env"])


def test_checkpoints_come_from_a_claim_or_an_init_container(everything):
    manifests = render(CASES["checkpoint claim"])
    (mount,) = (m for m in pod(manifests)["containers"][0]["volumeMounts"] if m["name"] == "checkpoint")
    assert mount["readOnly"] is True
    assert mount["mountPath"] == environment(manifests)["SOLOMON_CHECKPOINT"]
    (init,) = pod(everything)["initContainers"]
    assert init["env"][0] == {"name": "CHECKPOINT", "value": environment(everything)["SOLOMON_CHECKPOINT"]}


def test_the_network_policy_lets_in_callers_and_out_what_the_values_need(everything):
    policy = one(everything, "NetworkPolicy")["spec"]
    ports = sorted(port["port"] for rule in policy["egress"] for port in rule["ports"])
    assert ports == [53, 53, 443, 4318, 8443]
    assert len(policy["ingress"][0]["from"]) == 2
    closed = one(render(OPEN), "NetworkPolicy")["spec"]
    assert [port["port"] for rule in closed["egress"] for port in rule["ports"]] == [53, 53]
    plain = one(render({**OPEN, **MILVUS}), "NetworkPolicy")["spec"]
    assert 19530 in [port["port"] for rule in plain["egress"] for port in rule["ports"]]


def test_prometheus_finds_the_service_and_its_key(everything):
    monitor = one(everything, "ServiceMonitor")
    service = one(everything, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert endpoint["authorization"]["credentials"] == {"name": "metrics-key", "key": "api-key"}
    assert monitor["metadata"]["labels"]["release"] == "prom"


def watched(job):
    """The file of rules for one job of the namespace that the tests install into."""
    text = (CHART / "files" / "rules.yaml").read_text("utf-8")
    return text.replace('job="solomon"', f'namespace="search", job="{job}"')


@pytest.mark.parametrize(
    ("values", "job"),
    [
        ({}, "solomon"),
        ({"nameOverride": "vectors"}, "vectors"),
        ({"nameOverride": "vectors", "monitoring": {"rules": {"enabled": True, "job": "pods"}}}, "pods"),
    ],
)
def test_rules_watch_the_job_under_which_the_release_is_scraped(values, job):
    manifests = render({**CASES["watched"], **{"monitoring": CASES["watched"]["monitoring"], **values}})
    (rule,) = (m for m in manifests if m["kind"] == "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(watched(job))
    for monitor in (m for m in manifests if m["kind"] == "ServiceMonitor"):
        label = monitor["spec"]["jobLabel"]
        (service,) = (
            m for m in manifests if m["kind"] == "Service" and "solomon/scrape" in m["metadata"]["labels"]
        )
        assert service["metadata"]["labels"][label] == job


def test_runbooks_are_where_the_values_say():
    base = "https://wiki.example.org/solomon"
    monitoring = {"rules": {"enabled": True, "runbookUrl": base}}
    groups = one(render({**OPEN, "monitoring": monitoring}), "PrometheusRule")["spec"]["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    for rule in alerts:
        assert rule["annotations"]["runbook_url"] == f"{base}#{rule['alert'].lower()}"


def test_rules_and_dashboard_are_the_files_themselves(everything):
    assert one(everything, "PrometheusRule")["spec"] == yaml.safe_load(watched("solomon"))
    shown = one(everything, "ConfigMap", f"{FULL_NAME}-dashboard")["data"]["solomon.json"]
    assert shown == (CHART / "files" / "dashboard.json").read_text("utf-8").rstrip("\n")
