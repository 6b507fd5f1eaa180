import asyncio

import httpx
import pytest

from model.errors import ImageTooLarge, InputError
from service.image_urls import ImageFetcher, is_public, resolve_host
from tests.service.images import encoded
from tests.service.problems import fields, problem

PUBLIC = "93.184.215.14"
PICTURE = encoded()


def fetcher(handler, addresses=(PUBLIC,), hosts=("img.example.org",), **changes):
    async def resolve(host):
        found = addresses[host] if isinstance(addresses, dict) else addresses
        if isinstance(found, Exception):
            raise found
        return found

    options = {"max_bytes": 10_000, "timeout_seconds": 5.0, **changes}
    return ImageFetcher(hosts, resolve=resolve, transport=httpx.MockTransport(handler), **options)


def fetch(target, url="https://img.example.org/a.png"):
    async def run():
        try:
            return await target.fetch(url)
        finally:
            await target.aclose()

    return asyncio.run(run())


def refused(target, url="https://img.example.org/a.png"):
    with pytest.raises(InputError) as caught:
        fetch(target, url)
    assert caught.value.field == "image"
    return caught.value


def never(request):
    raise AssertionError("nothing may be asked of this host")


def test_the_connection_goes_to_the_checked_address_under_the_hosts_name():
    def handler(request):
        assert request.url.host == PUBLIC
        assert request.headers["host"] == "img.example.org"
        assert request.extensions["sni_hostname"] == "img.example.org"
        assert "authorization" not in request.headers
        return httpx.Response(200, stream=httpx.ByteStream(PICTURE))

    assert fetch(fetcher(handler)) == PICTURE
    assert fetch(fetcher(handler), "https://IMG.example.org./a.png") == PICTURE


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://img.example.org/a.png", "url_scheme"),
        ("https://other.example.org/a.png", "url_host"),
        ("https://img.example.org.evil.example/a.png", "url_host"),
        ("https://127.0.0.1/a.png", "url_host"),
        ("https://img.example.org:8443/a.png", "url"),
        ("https://user:secret@img.example.org/a.png", "url"),
        ("https://", "url_host"),
        ("https://[::1", "url"),
    ],
)
def test_urls_outside_the_rules_are_never_asked(url, reason):
    assert refused(fetcher(never), url).reason == reason


def test_no_host_is_allowed_by_default():
    assert "SOLOMON_IMAGE_URL_HOSTS" in str(refused(fetcher(never, hosts=())))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.8",
        "172.16.3.4",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "::10.0.0.1",
        "::ffff:0:10.0.0.1",
        "fec0::1",
        "5f00::1",
        "2001:db8::1",
        "255.255.255.255",
        "224.0.0.1",
        "nonsense",
    ],
)
def test_private_addresses_are_refused(address):
    assert not is_public(address)
    assert refused(fetcher(never, addresses=(address,))).reason == "url_host"
    assert refused(fetcher(never, addresses=(PUBLIC, address))).reason == "url_host"


def test_public_addresses_are_public():
    assert is_public(PUBLIC)
    assert is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")


def test_hosts_without_an_address():
    assert refused(fetcher(never, addresses=())).reason == "url_host"
    assert refused(fetcher(never, addresses=OSError("no such host"))).reason == "url_host"


def test_redirects_are_checked_again():
    def handler(request):
        if request.url.path == "/a.png":
            return httpx.Response(302, headers={"location": "/b.png"})
        if request.url.path == "/b.png":
            return httpx.Response(307, headers={"location": "https://inside.example.org/c.png"})
        raise AssertionError

    addresses = {"img.example.org": (PUBLIC,), "inside.example.org": ("10.0.0.1",)}
    hosts = ("img.example.org", "inside.example.org")
    assert refused(fetcher(handler, addresses, hosts)).reason == "url_host"
    assert refused(fetcher(handler, addresses)).reason == "url_host"


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://img.example.org/b.png", "url_scheme"),
        ("https://img.example.org:8443/b.png", "url"),
        ("https://user@img.example.org/b.png", "url"),
        ("//169.254.169.254/latest/meta-data", "url_host"),
        ("file:///etc/passwd", "url_scheme"),
        ("data:image/png;base64,AAAA", "url_failed"),  # httpx itself refuses these two
        ("https://[::1", "url_failed"),
    ],
)
def test_a_redirect_leads_nowhere_that_a_url_may_not(location, reason):
    asked = []

    def handler(request):
        asked.append(request)
        return httpx.Response(302, headers={"location": location})

    assert refused(fetcher(handler)).reason == reason
    assert len(asked) == 1


def test_a_host_is_looked_up_once_for_each_connection():
    """A name that turns private between a check and a connection (DNS rebinding) leads nowhere else."""
    answers = [(PUBLIC,), ("10.0.0.1",)]
    lookups = []

    async def rebinding(host):
        lookups.append(host)
        return answers[len(lookups) - 1]

    def handler(request):
        assert request.url.host == PUBLIC
        if request.url.path == "/a.png":
            return httpx.Response(200, stream=httpx.ByteStream(PICTURE))
        return httpx.Response(302, headers={"location": "/a.png"})

    options = {"max_bytes": 10_000, "timeout_seconds": 5.0, "transport": httpx.MockTransport(handler)}
    assert fetch(ImageFetcher(("img.example.org",), resolve=rebinding, **options)) == PICTURE
    assert lookups == ["img.example.org"]
    lookups.clear()
    again = ImageFetcher(("img.example.org",), resolve=rebinding, **options)
    assert refused(again, "https://img.example.org/moved").reason == "url_host"
    assert len(lookups) == 2


def test_redirects_end():
    asked = []

    def handler(request):
        asked.append(request.url.path)
        return httpx.Response(302, headers={"location": f"/{len(asked)}"})

    assert refused(fetcher(handler)).reason == "url_redirects"
    assert len(asked) == 4


def test_too_many_bytes_are_cut_off():
    read = 0

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self):
            nonlocal read
            while True:
                read += 1000
                yield b"x" * 1000

    target = fetcher(lambda request: httpx.Response(200, stream=Endless()))
    with pytest.raises(ImageTooLarge):
        fetch(target)
    assert read <= 12_000


def test_slow_and_failing_hosts():
    async def hang(request):
        await asyncio.sleep(3600)

    assert refused(fetcher(hang, timeout_seconds=0.05)).reason == "url_timeout"

    def broken(request):
        raise httpx.ConnectError("refused")

    assert refused(fetcher(broken)).reason == "url_failed"
    assert refused(fetcher(lambda request: httpx.Response(404))).reason == "url_status"


def test_a_host_that_drips_is_given_up():
    class Dripping(httpx.AsyncByteStream):
        async def __aiter__(self):
            while True:
                yield b"x"
                await asyncio.sleep(0.01)

    target = fetcher(lambda request: httpx.Response(200, stream=Dripping()), timeout_seconds=0.1)
    assert refused(target).reason == "url_timeout"


def test_a_resolver_that_hangs_is_given_up():
    async def hang(host):
        await asyncio.sleep(3600)

    target = ImageFetcher(
        ("img.example.org",), 10_000, 0.05, resolve=hang, transport=httpx.MockTransport(never)
    )
    assert refused(target).reason == "url_timeout"


def test_a_compressed_answer_is_refused_before_it_is_unpacked():
    headers = {"content-encoding": "gzip"}
    answer = lambda request: httpx.Response(200, headers=headers, stream=httpx.ByteStream(b"x"))  # noqa: E731
    assert refused(fetcher(answer)).reason == "url_encoding"


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    target = fetcher(lambda request: httpx.Response(200, stream=httpx.ByteStream(PICTURE)))
    assert not target._client._mounts
    assert fetch(target) == PICTURE


def test_the_images_of_a_call_are_bounded_together(serve):
    big = encoded() + b"\0" * 6000
    target = fetcher(lambda request: httpx.Response(200, stream=httpx.ByteStream(big)))
    with serve(fetcher=target, max_body_bytes=10_000, max_image_bytes=10_000) as client:
        item = {"image": "https://img.example.org/a.png"}
        assert client.post("/embed", json={"input": [item], "route": "embed"}).status_code == 200
        response = client.post("/embed", json={"input": [item, item]})
        assert len(fields(problem(response, 413, "image-too-large"))) == 1


def test_the_images_of_all_calls_are_bounded_together(serve):
    big = encoded() + b"\0" * 6000
    target = fetcher(lambda request: httpx.Response(200, stream=httpx.ByteStream(big)))
    limits = {"max_body_bytes": 5000, "max_total_body_bytes": 5000, "max_image_bytes": 10_000}
    with serve(fetcher=target, **limits) as client:
        call = {"input": {"image": "https://img.example.org/a.png"}, "route": "embed"}
        for _ in range(2):
            problem(client.post("/embed", json=call), 429, "bodies-full")
        # What a refused call held is given back.
        assert client.post("/embed", json={"input": "x" * 100, "route": "embed"}).status_code == 200


def test_the_systems_resolver_finds_loopback():
    assert not any(is_public(address) for address in asyncio.run(resolve_host("localhost")))


def test_a_request_may_name_an_image_by_url(serve):
    target = fetcher(lambda request: httpx.Response(200, stream=httpx.ByteStream(PICTURE)))
    with serve(fetcher=target) as client:
        item = {"image": "https://img.example.org/a.png"}
        assert client.post("/embed", json={"input": item, "route": "embed"}).status_code == 200
        bad = {"input": ["x", {"image": "https://elsewhere.example/a.png"}]}
        assert fields(problem(client.post("/embed", json=bad), 422, "invalid-input")) == ["input[1].image"]
