"""Fetches images from allowed https hosts, and from nowhere that only this machine can reach.

A host's addresses are looked up once, every one of them must be public, and the connection goes to the
address that was checked, so that a second lookup cannot lead elsewhere. Each redirect starts over.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence

import httpx

from model.errors import ImageTooLarge, InputError
from service.held_bytes import hold

Resolve = Callable[[str], Awaitable[Sequence[str]]]

MAX_REDIRECTS = 3
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # all that IANA has given out of IPv6
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


async def resolve_host(host: str) -> list[str]:
    """Every address of a host, in the system's order of preference."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet (not private, link-local, loopback, multicast)."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if embedded is not None:
            return is_public(str(embedded))
        if ip in _NAT64:  # carries an IPv4 address in its last 32 bits
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        # Outside of it lie older ways to write private addresses, which is_global calls global.
        if ip not in _GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast


def _refused(reason: str, message: str, mend: str = "Send the image as a data URI.") -> InputError:
    return InputError("image", reason, message, mend)


class ImageFetcher:
    """Downloads images within an allow-list of hosts, a size and a time."""

    def __init__(
        self,
        hosts: Sequence[str],
        max_bytes: int,
        timeout_seconds: float,
        resolve: Resolve = resolve_host,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._hosts = frozenset(hosts)
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._resolve = resolve
        self._client = httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            timeout=timeout_seconds,
            # Hosts may share an address; a kept connection would carry the wrong host's TLS session.
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=0),
        )

    async def fetch(self, url: str) -> bytes:
        """The bytes at an https URL.

        Raises `InputError` if the URL may not be fetched or cannot be, `ImageTooLarge` for too many bytes, a
        `Problem` (429) where the server holds too many already.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._follow(url)
        except (TimeoutError, httpx.TimeoutException):
            message = f"The image URL did not answer in full within {self._timeout_seconds:g} s."
            raise _refused("url_timeout", message) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:  # the latter: a redirect that is no URL
            message = f"The image URL could not be fetched ({type(error).__name__})."
            raise _refused("url_failed", message) from None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _follow(self, given: str) -> bytes:
        url = given
        for _ in range(MAX_REDIRECTS + 1):
            target = self._checked(url)
            request = await self._pinned_request(target)
            response = await self._client.send(request, stream=True)
            try:
                location = response.headers.get("location")
                if response.status_code in _REDIRECTS and location is not None:
                    url = str(target.join(location))
                    continue
                return await self._read(response)
            finally:
                await response.aclose()
        message = f"The image URL redirects more than {MAX_REDIRECTS} times."
        raise _refused("url_redirects", message, "Send the final address.")

    def _checked(self, url: str) -> httpx.URL:
        try:
            target = httpx.URL(url)
        except (httpx.InvalidURL, ValueError):
            raise _refused("url", "The image URL is malformed.", "Send https://host/path.") from None
        if target.scheme != "https":
            raise _refused("url_scheme", "An image URL must be https, redirects included.")
        if target.port not in (None, 443) or target.userinfo:
            raise _refused("url", "An image URL may carry neither a port nor a user name.", "Leave them out.")
        host = target.host.lower().rstrip(".")
        if host not in self._hosts:
            allowed = "allows no hosts" if not self._hosts else f"does not allow the host {host[:253]!r}"
            message = f"This server {allowed} for image URLs (SOLOMON_IMAGE_URL_HOSTS)."
            raise _refused("url_host", message)
        return target

    async def _pinned_request(self, target: httpx.URL) -> httpx.Request:
        host = target.host.lower().rstrip(".")
        try:
            addresses = await self._resolve(host)
        except OSError:
            addresses = []
        if not addresses:
            raise _refused("url_host", f"The host {host!r} has no address.", "Check the image URL.")
        if not all(is_public(address) for address in addresses):
            message = (
                f"The host {host!r} has an address inside a private network, from which nothing is fetched."
            )
            raise _refused("url_host", message)
        # The address stands in the URL; TLS still checks the certificate against the host's name.
        return self._client.build_request(
            "GET",
            target.copy_with(host=addresses[0]),
            headers={"Host": host, "Accept": "image/*", "Accept-Encoding": "identity"},
            extensions={"sni_hostname": host},
        )

    async def _read(self, response: httpx.Response) -> bytes:
        if response.status_code != 200:
            message = f"The image URL answered {response.status_code}."
            raise _refused("url_status", message, "Check it, or send the image as a data URI.")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _refused("url_encoding", "The image URL answers compressed.")
        data = bytearray()
        async for chunk in response.aiter_raw():
            hold(len(chunk))
            data += chunk
            if len(data) > self._max_bytes:
                message = f"The image at the URL is larger than {self._max_bytes} bytes."
                raise ImageTooLarge("image", "bytes", message, "Send a smaller one.")
        return bytes(data)
