"""The few calls of a CRDS server, with patience; and what a cache remembers of its server."""

from __future__ import annotations

import ast
import base64
import gzip
import http.client
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from calservice.model.errors import ReferenceFileError, TransientError

__all__ = [
    "PATIENCE",
    "SERVERS",
    "Patience",
    "Server",
    "address",
    "opened",
    "recorded_info",
    "retried",
    "setting",
    "unpacked",
]

T = TypeVar("T")

SERVERS = {"ops": "https://jwst-crds.stsci.edu", "pub": "https://jwst-crds-pub.stsci.edu"}
"""The public servers: that of the operations pipeline, and that of the latest release of the jwst package."""


def address(server: str | None) -> str | None:
    """Return the address of a server given by name (``ops``, ``pub``) or URL; None for none, or crds' "serverless"."""
    server = SERVERS.get((server or "").lower(), server)
    return None if not server or "serverless" in server else server.rstrip("/")


def setting(variable: str) -> bool:
    """Whether an environment variable says yes, in one of the words of crds."""
    return os.environ.get(variable, "0").lower() in ("1", "true", "t", "yes", "y")


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds, and how often to try."""

    timeout: float = 60.0
    """Silence of a connection that counts as a failure."""
    attempts: int = 4
    pause: float = 0.5
    """Pause before the second attempt; doubled before each further one."""
    wait: float = 3600.0
    """Longest wait for another process that fetches the same file."""
    poll: float = 0.1


PATIENCE = Patience()
"""What is usual."""


def retried(what: str, action: Callable[[], T], patience: Patience) -> T:
    """Return ``action()``, tried again after failures that pass: HTTP 5xx, 408, 429, connections.

    Raises
    ------
    ReferenceFileError
        The server refuses for good (another HTTP 4xx).
    TransientError
        It still failed at the last attempt.
    """
    for attempt in range(patience.attempts):
        try:
            return action()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in (408, 429):
                raise ReferenceFileError(
                    f"{what}: HTTP {error.code} {error.reason}. Check the name, and the server (CRDS_SERVER_URL)"
                ) from error
            why = f"HTTP {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError) as e:
            why = str(getattr(e, "reason", "") or e) or type(e).__name__
        if attempt + 1 < patience.attempts:
            time.sleep(patience.pause * 2**attempt)
    raise TransientError(f"{what}: {why} ({patience.attempts} attempts). Try again later")


def opened(url: str, patience: Patience, data: bytes | None = None) -> http.client.HTTPResponse:
    """Return the open answer of a web server; a CRDS server may send nobody to other places."""
    if not url.startswith(("http://", "https://")):
        raise ReferenceFileError(f"{url} is not the address of a web server")
    answer: http.client.HTTPResponse = urllib.request.urlopen(url, data, timeout=patience.timeout)  # noqa: S310
    return answer


def unpacked(value: Any) -> Any:
    """Return a value of a CRDS server, decompressed where the server sends it compressed."""
    if isinstance(value, dict) and "crds_encoded" in value:
        return json.loads(gzip.decompress(base64.b64decode(value["crds_payload"])))
    return value


@dataclass(frozen=True)
class Server:
    """The JSON-RPC calls of a CRDS server. Holds no connection and no state."""

    url: str
    patience: Patience = PATIENCE

    def call(self, method: str, *args: Any) -> Any:
        """Return the result of a remote call; see `retried` for how it fails."""
        request = {
            "jsonrpc": "1.0",
            "method": method,
            "params": args,
            "id": f"calservice-{os.getpid()}",
        }
        address = f"{self.url.rstrip('/')}/json/{method}/{request['id']}/"

        def ask() -> Any:
            with opened(address, self.patience, json.dumps(request).encode()) as answer:
                return json.loads(answer.read())

        what = f"the CRDS server at {self.url} does not answer {method}"
        try:
            reply = retried(what, ask, self.patience)
        except ValueError as error:
            raise ReferenceFileError(f"{self.url} is not a CRDS server: {error}") from error
        if reply.get("error"):
            message = reply["error"].get("message", reply["error"])
            raise ReferenceFileError(f"the CRDS server at {self.url} refuses {method}: {message}")
        return unpacked(reply["result"])

    def info(self) -> dict[str, Any]:
        """Return the server's description of itself, in the form that crds keeps in a cache."""
        info = dict(self.call("get_server_info"), status="server", connected=True, server=self.url)
        for name in ("reference_url", "mapping_url", "config_url", "pickle_url"):
            if "unchecked" in info.get(name, ()):
                info[name] = info[name]["unchecked"]
        return info


def recorded_info(cache: Path) -> dict[str, Any]:
    """Return what the cache remembers of its server (``config/jwst/server_config``); may be empty."""
    path = cache / "config" / "jwst" / "server_config"
    try:
        return _literal(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, SyntaxError) as error:
        raise ReferenceFileError(f"{path} cannot be read: {error}") from error


@lru_cache(maxsize=4)
def _literal(path: Path, mtime_ns: int) -> dict[str, Any]:
    return dict(ast.literal_eval(path.read_text()))
