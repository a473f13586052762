"""Who may ask what: the first thing that every request meets."""

import hashlib
import hmac
import ipaddress
import json
import math
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from PAD_utils.station.settings import Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "station"
OPEN_PATHS = ("/login", "/static/page.css", "/static/icon.svg")  # needed to show a token
_READING = ("GET", "HEAD")
_READ_COST = 0.1  # of a request that changes something: a page loads many pictures
_GUESS_COST_S = 0.5  # a wrong token costs what the address may ask for in this time
_BURST_S = 2.0
_ADDRESSES = 10_000  # remembered for the rate
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with none, browsers would not tell the origin of our own forms either
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware: rate, host (against DNS rebinding), origin (against requests forged by other sites), token and
    size. What it refuses is answered in one line of JSON. Every answer gets the headers that keep a browser strict."""

    def __init__(self, app: Application, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._rate = Rate(settings.rate)
        self._names = {name.lower() for name in ("localhost", settings.host, socket.gethostname(), *settings.names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refusal(scope, headers)
        if refused is not None:
            sign_in = refused[0] == 401 and scope["path"] == "/"
            await (_to_login(send) if sign_in else _answer(send, *refused))
            return
        await self._app(scope, self._limited(receive), _strict(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and reason, or None."""
        address, reading = (scope.get("client") or ("?",))[0], scope["method"] in _READING
        if not self._rate.allows(address, _READ_COST if reading else 1.0):
            return 429, "too many requests from this address; try again in a second"
        if not self._known_host(headers.get("host", "")):
            return 421, "this station is not known by that host name; --names tells it further ones"
        if not reading and not self._same_origin(headers):
            return 403, "requests of other sites are refused"
        if not scope["path"].isprintable():
            return 400, "the address holds characters that none of ours does"
        if int_or(headers.get("content-length", "0"), -1) > self._settings.limits.request_bytes:
            return 413, f"larger than {self._settings.limits.request_bytes >> 20} MB; send fewer or smaller pictures"
        if self._settings.token is not None and scope["path"] not in OPEN_PATHS and not self.admits(headers):
            if headers.get("authorization") or headers.get("cookie"):
                self._rate.allows(address, _GUESS_COST_S * self._settings.rate)
            return 401, "a token is needed: Authorization: Bearer TOKEN, or sign in at /login"
        return None

    def admits(self, headers: dict[str, str]) -> bool:
        """Whether a request shows the token, or the cookie that was given for it."""
        token = self._settings.token or ""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and same(given.strip(), token):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and same(cookie.value, cookie_value(token))

    def _known_host(self, host: str) -> bool:
        """Rebinding needs a name that the attacker owns, so addresses are as safe as names of our own."""
        name = host.rsplit(":", 1)[0] if host.rsplit(":", 1)[-1].isdigit() else host
        try:
            ipaddress.ip_address(name.strip("[]"))
            return True
        except ValueError:
            return name.lower() in self._names

    def _same_origin(self, headers: dict[str, str]) -> bool:
        """Browsers say where a request comes from; programs do not, and need not."""
        origin = headers.get("origin")
        if origin is None:
            return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
        return origin.lower() == f"{self._settings.scheme}://{headers.get('host', '')}".lower()

    def _limited(self, receive: Receive) -> Receive:
        """The body, cut off where it exceeds the limit that its header did not tell of."""
        left = self._settings.limits.request_bytes

        async def limited() -> MutableMapping[str, Any]:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise TooLargeError
            return message

        return limited


class TooLargeError(Exception):
    """More came than a request may hold."""


class Rate:
    """A token bucket for each address: `per_second` on average, twice that at once."""

    def __init__(self, per_second: float) -> None:
        self._per_second, self._most = per_second, max(1.0, _BURST_S * per_second)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str, cost: float) -> bool:
        """Takes the cost of a request, if it is there; a cost above it empties the bucket."""
        now = time.monotonic()
        left, since = self._buckets.pop(address, (self._most, now))
        left = min(self._most, left + (now - since) * self._per_second)
        allowed = left >= cost
        self._buckets[address] = (max(0.0, left - cost) if allowed or cost > 1 else left, now)
        if len(self._buckets) > _ADDRESSES:
            self._buckets.popitem(last=False)
        return allowed


def same(given: str, expected: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode(), expected.encode())


def cookie_value(token: str) -> str:
    """What a browser keeps instead of the token."""
    return hmac.new(token.encode(), b"station cookie", hashlib.sha256).hexdigest()


def int_or(text: str, default: int) -> int:
    """A number in a header, which may be anything."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < math.log10(2**63) else default


def _strict(send: Send) -> Send:
    async def strict(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = {name for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *((n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in given),
            ]
        await send(message)

    return strict


async def _answer(send: Send, status: int, reason: str) -> None:
    content = json.dumps({"error": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await _strict(send)({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _to_login(send: Send) -> None:
    await _strict(send)({"type": "http.response.start", "status": 303, "headers": [(b"location", b"/login")]})
    await send({"type": "http.response.body", "body": b""})
