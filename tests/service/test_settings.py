import pytest
from pydantic import ValidationError

from service.settings import Settings, is_loopback


def test_every_setting_is_described_and_has_a_default():
    settings = Settings()
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert hasattr(settings, name)
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.checkpoint.name == "solomon-mini"


def test_the_environment_sets(monkeypatch):
    monkeypatch.setenv("SOLOMON_PORT", "9000")
    monkeypatch.setenv("SOLOMON_API_KEYS", "hush-1, hush-2,")
    monkeypatch.setenv("SOLOMON_IMAGE_URL_HOSTS", "Images.Example.org,cdn.example.org")
    monkeypatch.setenv("SOLOMON_DEMO", "false")
    settings = Settings()
    assert (settings.port, settings.demo) == (9000, False)
    assert [key.get_secret_value() for key in settings.api_keys] == ["hush-1", "hush-2"]
    assert settings.image_url_hosts == ("images.example.org", "cdn.example.org")
    assert "hush" not in repr(settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_an_open_address_needs_keys_or_consent(host):
    with pytest.raises(ValidationError, match="SOLOMON_API_KEYS"):
        Settings(host=host)
    assert Settings(host=host, api_keys="k").host == host
    assert Settings(host=host, allow_open=True).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback(host):
    assert is_loopback(host)
    assert Settings(host=host).host == host


@pytest.mark.parametrize(
    "changes",
    [
        {"max_queue": 10},
        {"port": 70_000},
        {"image_url_hosts": "https://a.org"},
        {"image_url_hosts": "*.a.org"},
    ],
)
def test_settings_that_cannot_work_are_refused(changes):
    with pytest.raises(ValidationError):
        Settings(**changes)
