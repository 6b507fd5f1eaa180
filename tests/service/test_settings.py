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


def test_a_key_file_guards_as_keys_do(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"sha256:{'ab' * 32} scopes=search\n")
    settings = Settings(host="0.0.0.0", api_keys_file=file)
    assert settings.needs_key
    with pytest.raises(ValidationError, match="cannot be read"):
        Settings(api_keys_file=tmp_path / "nowhere")
    file.write_text("plain-key\n")
    with pytest.raises(ValidationError, match="line 1") as caught:
        Settings(api_keys_file=file)
    assert "plain-key" not in str(caught.value.errors()[0]["msg"])
    with pytest.raises(ValidationError, match="scope"):
        Settings(api_keys=f"sha256:{'ab' * 32} scopes=read")
