"""Misspelt settings are told, and nothing else is."""

from service.environment import not_settings
from service.settings import Settings


def test_a_misspelt_setting_is_named_with_the_one_that_was_meant():
    found = not_settings(["SOLOMON_MAX_QEUE", "SOLOMON_API_KEYS_FILES", "SOLOMON_ZZZ"])
    assert found == {
        "SOLOMON_API_KEYS_FILES": "SOLOMON_API_KEYS_FILE",
        "SOLOMON_MAX_QEUE": "SOLOMON_MAX_QUEUE",
        "SOLOMON_ZZZ": None,
    }


def test_settings_and_what_others_put_there_are_not():
    settings = [f"SOLOMON_{name.upper()}" for name in Settings.model_fields]
    others = ["SOLOMON_URL", "SOLOMON_API_KEY", "SOLOMON_CACHE_DIR", "solomon_port"]
    kubernetes = ["SOLOMON_SERVICE_HOST", "SOLOMON_PORT_8080_TCP_ADDR", "SOLOMON_HEADLESS_PORT"]
    kubernetes += ["SOLOMON_METRICS_SERVICE_PORT_HTTP", "SOLOMON_HEADLESS_PORT_8080_TCP"]
    assert not_settings([*settings, *others, *kubernetes, "PATH", "HOME"]) == {}
