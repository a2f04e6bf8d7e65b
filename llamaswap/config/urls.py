"""Whether the address of an upstream or a peer can be read as a URL.

The rules are those operators' files are written against: of RFC 3986, with a few liberties.

Source: config §2.5, §2.7.
"""

from __future__ import annotations

import re

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BAD_IN_HOST = re.compile(r"[\x00-\x20\x7f\\^`{|}/?#@]|%(?!25)(?![89A-Fa-f][0-9A-Fa-f])")
_BAD_IN_USER = re.compile(r"[^A-Za-z0-9._:~!$&'()*+,;=%@-]")
_PORT = re.compile(r"(?::[0-9]*)?")


def url_fault(url: str) -> str | None:
    """Why `url` cannot be read; None: it can."""
    if _CONTROL.search(url):
        return "there is a control character in it"
    rest = url.partition("#")[0]
    scheme, colon, after = rest.partition(":")
    if colon and not scheme:
        return "the scheme before '://' is missing"
    if colon and _SCHEME.fullmatch(scheme):
        rest = after
        if not rest.startswith("/"):
            return None  # "localhost:8080" is a scheme and something; `url_doubt` says more
    elif ":" in rest.partition("?")[0].partition("/")[0]:
        return "a host with a port needs 'http://' before it"
    path = rest.partition("?")[0]
    if path.startswith("//"):
        authority, slash, path = path[2:].partition("/")
        path = slash + path
        if fault := _authority_fault(authority):
            return fault
    return "there is a '%' that is no escape" if _BAD_ESCAPE.search(path) else None


def url_doubt(url: str) -> str | None:
    """Why nothing can be reached at a URL that can be read; None: no reason known."""
    scheme, separator, rest = url.partition("://")
    if not url:
        return "it is empty"
    if not separator or scheme.lower() not in ("http", "https"):
        return "it does not start with http:// or https://"
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    return "it has no host" if not host or host.startswith(":") else None


def _authority_fault(authority: str) -> str | None:
    user, at, host = authority.rpartition("@")
    if at and (_BAD_IN_USER.search(user) or _BAD_ESCAPE.search(user)):
        return "the user name in it is not valid"
    if host.startswith("["):
        address, bracket, port = host.rpartition("]")
        if not bracket:
            return "the ']' after the address is missing"
    else:
        address, colon, number = host.rpartition(":")
        address, port = (address, colon + number) if colon else (host, "")
    if not _PORT.fullmatch(port):
        return "the port is not a number"
    return "the host holds a character that no host has" if _BAD_IN_HOST.search(address) else None
