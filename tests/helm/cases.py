"""The values with which the chart is rendered in the tests."""

OPEN = {"auth": {"allowOpen": True}}
KEYS = {"auth": {"existingSecret": "solomon-keys"}}
MILVUS = {"store": {"kind": "milvus", "milvus": {"uri": "http://milvus.milvus:19530"}}}

HUB = {"model": {"source": "hub", "hubId": "Qwen/Qwen2-VL-2B-Instruct"}}

EVERYTHING = {
    **KEYS,
    "store": {
        "kind": "milvus",
        "milvus": {
            "uri": "https://milvus/db",
            "tokenSecret": {"name": "milvus-token"},
            "consistency": "Session",
        },
    },
    "image": {"repository": "registry.example.org/solomon", "pullSecrets": [{"name": "pull"}]},
    "autoscaling": {"enabled": True, "maxReplicas": 40},
    "gpu": {"enabled": True, "nodeSelector": {"gpu": "l4"}, "runtimeClassName": "nvidia"},
    "model": {
        "source": "init",
        "threads": 4,
        "augmentThreshold": 0,
        "device": "cuda",
        "init": {
            "image": "fetcher:1",
            "command": ["fetch"],
            "args": ["x"],
            "env": [{"name": "A", "value": "b"}],
        },
    },
    "limits": {"imageUrlHosts": ["images.example.org", "cdn.example.org"]},
    "tracing": {"endpoint": "http://collector.monitoring:4318/v1/traces"},
    "extraEnv": [{"name": "OMP_NUM_THREADS", "value": "4"}],
    "extraEnvFrom": [{"configMapRef": {"name": "more"}}],
    "nodeSelector": {"pool": "search"},
    "tolerations": [{"key": "search", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "search"},
    "serviceAccount": {"annotations": {"a": "b"}},
    "service": {"annotations": {"a": "b"}, "type": "LoadBalancer"},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "hosts": ["solomon.example.org"],
        "tls": [{"secretName": "tls", "hosts": ["solomon.example.org"]}],
        "annotations": {"a": "b"},
    },
    "networkPolicy": {
        "ingressFrom": [{"namespaceSelector": {"matchLabels": {"name": "shop"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "egress": [{"ports": [{"port": 8443, "protocol": "TCP"}]}],
    },
    "monitoring": {
        "serviceMonitor": {
            "enabled": True,
            "keySecret": {"name": "metrics-key"},
            "labels": {"release": "prom"},
        },
        "rules": {"enabled": True, "labels": {"release": "prom"}},
        "dashboard": {"enabled": True, "annotations": {"folder": "Search"}},
    },
}

CASES = {
    "open": OPEN,
    "secret": KEYS,
    "keys": {"auth": {"keys": ["one", "two"]}},
    "cpu limit": {**OPEN, "resources": {"limits": {"cpu": "1500m"}}},
    "no cpu": {**OPEN, "resources": {"requests": {"cpu": None}}},
    "own claim": {**OPEN, "store": {"faiss": {"volume": {"existingClaim": "mine", "storageClass": "fast"}}}},
    "storage class": {**OPEN, "store": {"faiss": {"volume": {"storageClass": "fast", "size": "1Ti"}}}},
    "checkpoint claim": {
        **OPEN,
        "model": {"source": "pvc", "pvc": {"claimName": "checkpoints", "subPath": "solomon-2b"}},
    },
    "hub": {
        **OPEN,
        "model": {"source": "hub", "hubId": "Qwen/Qwen2-VL-2B-Instruct", "cache": {"existingClaim": "hf"}},
        "resources": {"requests": {"memory": "8Gi"}, "limits": {"memory": "12Gi"}},
    },
    "fetched base": {**OPEN, "model": {"baked": False}},
    "no resources": {**OPEN, "resources": None},
    "gpu": {**OPEN, "gpu": {"enabled": True}},
    "milvus": {**OPEN, **MILVUS},
    "milvus by cpu": {**OPEN, **MILVUS, "autoscaling": {"enabled": True, "metric": "cpu"}},
    "bare": {
        **OPEN,
        "serviceAccount": {"create": False},
        "networkPolicy": {"enabled": False},
        "topologySpread": False,
        "podDisruptionBudget": {"enabled": False},
    },
    "watched": {**OPEN, "monitoring": {"serviceMonitor": {"enabled": True}, "rules": {"enabled": True}}},
    "everything": EVERYTHING,
}
