"""Which proxy the environment names for a host, as Go's programs and curl read it."""

from __future__ import annotations

import base64
import ipaddress
import urllib.request
from urllib.parse import unquote, urlsplit

import httpx

from reaper.core.errors import InvalidInputError
from reaper.registry.address import is_loopback

#: The header by which a proxy is shown a login.
AUTHORIZATION = "Proxy-Authorization"
_PORTS = {"http": 80, "https": 443}


def proxy_for(scheme: str, host: str, port: int | None) -> httpx.Proxy | None:
    """Return the proxy for requests to ``host``, or None; never one for this machine.

    ``HTTP_PROXY``, ``HTTPS_PROXY`` (else ``ALL_PROXY``) and ``NO_PROXY`` count in either case; lower case
    goes first.

    Raises:
        InvalidInputError: the environment names no usable proxy. What it says is not repeated: it may hold
            a password.
    """
    environment = urllib.request.getproxies_environment()
    name = scheme if scheme in environment else "all"
    found = environment.get(name)
    if not found or is_loopback(host) or _passed_over(environment.get("no", ""), scheme, host, port):
        return None
    variable = f"{name.upper()}_PROXY"
    try:
        parts = urlsplit(found if "://" in found else f"http://{found}")
        url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        authorization = _authorization(parts.netloc)
        proxy = httpx.Proxy(url, headers={AUTHORIZATION: authorization} if authorization else None)
        valid = parts.scheme in _PORTS and bool(parts.hostname)
    except (ValueError, httpx.InvalidURL):
        valid = False
    if not valid:
        hint = "write it as http://HOST:PORT; SOCKS proxies are not supported"
        # Nothing of the variable's value, in no form.
        raise InvalidInputError(f"{variable} names no proxy that reaper can use", hint=hint) from None
    return proxy


def _authorization(netloc: str) -> str | None:
    """Return what to show the proxy (RFC 7617), where its URL has a login."""
    user, _, password = netloc.rpartition("@")[0].partition(":")
    if not user and not password:
        return None
    return "Basic " + base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


def _passed_over(no_proxy: str, scheme: str, host: str, port: int | None) -> bool:
    """Tell whether ``NO_PROXY`` names the host: by its name, a domain above it, its address or network."""
    host = host.strip("[]").lower().rstrip(".")
    actual = port or _PORTS[scheme]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    entries = [entry.strip().lower() for entry in no_proxy.split(",")]
    return any(_matches(entry, host, actual, address) for entry in entries if entry)


def _matches(
    entry: str, host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None
) -> bool:
    if entry == "*":
        return True
    if address is not None and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, wanted = _host_and_port(entry)
    if wanted is not None and wanted != port:
        return False
    if address is not None:
        try:
            return ipaddress.ip_address(name) == address
        except ValueError:
            return False
    domain = name.removeprefix("*").removeprefix(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _host_and_port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        port = rest.removeprefix(":")
    elif entry.count(":") == 1:
        name, _, port = entry.partition(":")
    else:
        name, port = entry, ""
    return name, int(port) if port.isdecimal() else None
