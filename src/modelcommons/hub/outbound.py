"""outbound: the one way in which the hub calls an address that a stranger gave it."""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from modelcommons.errors import Unprocessable

DEADLINE_S = 5.0  # for name, connection, request and answer together
MAX_BODY = 1 << 20  # bytes that are sent; of the answer only the status is read
MAX_URL = 2048
HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")
PORTS = {"http": 80, "https": 443}

# networks that Python calls global, and through which a private address can be meant all the same
CARRIERS = tuple(
    ipaddress.ip_network(text)
    for text in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "192.88.99.0/24", "fec0::/10")
)

Address = tuple[socket.AddressFamily, tuple[str, int]]
Resolver = Callable[[str, int], list[Address]]


class NotDelivered(Exception):
    """The call did not come through; the reason is for our log, never for the person who gave the address."""


@dataclass(frozen=True, slots=True)
class Target:
    """An http or https address, taken apart."""

    scheme: str
    host: str
    port: int
    path: str  # with the query

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def target(url: str) -> Target:
    """The gate for addresses.

    Raises:
        Unprocessable: it is not plain http or https, has a user name or a fragment, or its host is no host.
    """
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or re.search(r'[\s\\^`{|}<>"]', url):
        raise Unprocessable(f"Expected an address of at most {MAX_URL} plain characters, got {url[:80]!r}.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Unprocessable(f"Expected an address such as https://example.org/hook, got {url[:80]!r}.") from None
    if parts.scheme not in PORTS or "@" in parts.netloc or "#" in url or "%" in parts.netloc or port == 0:
        raise Unprocessable(f"Expected an address such as https://example.org/hook, got {url[:80]!r}.")
    host = (parts.hostname or "").lower()
    if not (_address(host) or HOST.fullmatch(host)):
        raise Unprocessable(f"Expected a host name or an IP address, got {host[:80]!r}.")
    query = f"?{parts.query}" if parts.query else ""
    return Target(parts.scheme, host, port or PORTS[parts.scheme], (parts.path or "/") + query)


def is_public(text: str) -> bool:
    """Whether an IP address is one that anybody on the Internet could call."""
    address = _address(text.partition("%")[0])
    if address is None or "%" in text:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    carried = any(address in network for network in CARRIERS if network.version == address.version)
    return address.is_global and not address.is_multicast and not carried


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def resolve(host: str, port: int) -> list[Address]:
    """What the system's resolver says; numbers in any notation become addresses here, and are looked at as such."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, (str(place[0]), port)) for family, _, _, _, place in found]


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allowed: Collection[str] = (),
    resolver: Resolver = resolve,
    deadline_s: float = DEADLINE_S,
) -> int:
    """Posts JSON; the status of the answer. Redirects are answers like any other, and are not followed.

    The name is resolved once. Every address it has must be public, and the connection goes to one of those that were
    looked at, so that a second look at the name cannot lead elsewhere.

    Args:
        allowed: host names, in small letters, that may be private.

    Raises:
        Unprocessable: the address is none that may be called, whoever answers there.
        NotDelivered: nobody answered in time, or some address of the name is not public.
    """
    assert len(body) <= MAX_BODY
    to, ends = target(url), time.monotonic() + deadline_s
    addresses = _resolved(to, resolver, deadline_s)
    if to.host not in allowed and not all(is_public(place[0]) for _, place in addresses):
        raise NotDelivered("the name has an address that is not public")
    connection = _Pinned(to, addresses[0], ends)
    timer = threading.Timer(max(0.0, ends - time.monotonic()), connection.cut)
    timer.daemon = True
    timer.start()
    try:
        sent = {"Host": to.authority, "Content-Type": "application/json", "Connection": "close", **headers}
        connection.request("POST", to.path, body, sent)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotDelivered(type(error).__name__) from error
    finally:
        timer.cancel()
        connection.close()


def _resolved(to: Target, resolver: Resolver, deadline_s: float) -> list[Address]:
    """The system's resolver knows no deadline; a thread that waits for it longer than we do ends by itself."""
    found: list[Address] = []

    def look() -> None:
        try:
            found.extend(resolver(to.host, to.port))
        except (OSError, UnicodeError):
            return

    thread = threading.Thread(target=look, name="resolver", daemon=True)
    thread.start()
    thread.join(deadline_s)
    addresses = list(found)
    if thread.is_alive() or not addresses:
        raise NotDelivered("the name could not be resolved")
    return addresses


class _Pinned(http.client.HTTPConnection):
    """A connection to one address, whatever the name says by now; certificates are checked for the name."""

    def __init__(self, to: Target, address: Address, ends: float) -> None:
        super().__init__(to.host, to.port)
        self.to, self.address, self.ends = to, address, ends
        self.raw: socket.socket | None = None

    def connect(self) -> None:
        family, place = self.address
        self.raw = socket.socket(family, socket.SOCK_STREAM)
        self.raw.settimeout(max(0.01, self.ends - time.monotonic()))
        self.raw.connect(place)
        self.sock = self.raw
        if self.to.scheme == "https":
            self.sock = ssl.create_default_context().wrap_socket(self.raw, server_hostname=self.to.host)

    def close(self) -> None:
        super().close()
        if self.raw is not None:  # where the connection failed before it was one
            self.raw.close()

    def cut(self) -> None:
        """Ends it, even while somebody sends one byte a second."""
        for one in (self.raw, self.sock):
            if one is not None:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
