"""Where a key may go. A key belongs to one host: it is never sent to another by accident."""

import ipaddress
import os
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from pairgen.errors import CredentialsError, UsageError

OPENAI = "api.openai.com"
OPENAI_KEY = "OPENAI_API_KEY"
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET = re.compile(r"api.?key|authorization|secret|password|bearer|access.?token", re.IGNORECASE)


def host_of(base_url: str) -> str:
    """The host of a URL. Raises UsageError when it is no http(s) URL, or one of a cloud's metadata."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise UsageError(f"base_url {base_url.split('@')[-1]!r}: write it as https://host/v1, without a user")
    address = _address(parts.hostname)
    if address is not None and address.is_link_local:
        raise UsageError(f"base_url {base_url!r}: link-local addresses serve cloud metadata, not models")
    return parts.hostname


def key_for(base_url: str, key_env: str | None) -> str | None:
    """The name of the variable whose key goes to this URL; None where no key is needed.

    Raises UsageError when a host other than OpenAI's has no key of its own, or would get it in clear text.
    """
    host = host_of(base_url)
    if host == OPENAI:
        return key_env or OPENAI_KEY
    if key_env == OPENAI_KEY:
        raise UsageError(f"{OPENAI_KEY} goes to {OPENAI} only: name {host}'s own variable in api_key_env")
    if key_env is None and not is_loopback(host):
        raise UsageError(f"base_url {base_url!r}: name the variable that holds {host}'s key in api_key_env")
    if key_env is not None and urlsplit(base_url).scheme == "http" and not is_near(host):
        raise UsageError(f"base_url {base_url!r}: a key would cross the network in clear text; use https")
    return key_env


def refuse_keys(key_env: str | None, fields: Iterable[str]) -> None:
    """Raise ValueError for a key in a config, which is kept with the run; the key itself is not repeated."""
    if key_env is not None and VARIABLE.fullmatch(key_env) is None:
        raise ValueError(f"api_key_env: the name of a variable is wanted, such as {OPENAI_KEY}, not a key")
    if secret := next((name for name in fields if SECRET.search(name)), None):
        raise ValueError(
            f"extra: {secret!r} would be kept with the run; a key is read from the variable that api_key_env "
            "names, and from nowhere else"
        )


def read_key(key_env: str) -> str:
    """The key. Raises CredentialsError naming the variable."""
    key = os.environ.get(key_env, "").strip()
    if not key:
        raise CredentialsError(f"no key: set {key_env}")
    if not key.isascii() or not key.isprintable():
        raise CredentialsError(f"{key_env} does not hold a key: it has characters no key has")
    return key


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def is_near(host: str) -> bool:
    """Whether a host is on this machine or its own network, as far as its name tells."""
    address = _address(host)
    if address is not None:
        return address.is_private or address.is_loopback
    return "." not in host or host.endswith((".local", ".internal", ".lan"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
