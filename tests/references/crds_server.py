"""A CRDS server on the loopback interface, for tests: JSON-RPC calls, mappings and references.

Run as ``python crds_server.py STORE [CONTEXT]``; prints its port. ``STORE`` holds ``mappings/``, ``references/``
and ``catalog.json`` (file name to size and sha1sum). ``PUT /control`` with a JSON object changes how it
behaves: ``slow`` (seconds a reference takes), ``corrupt`` (names), ``fail`` (name to how many times it
answers 503), ``rpc_fail`` (how many calls answer 503), ``refuse`` (names of unknown methods).
``GET /stats`` tells how often each path or method was asked for.
"""

from __future__ import annotations

import collections
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

STORE = Path(sys.argv[1])
CONTEXT = sys.argv[2] if len(sys.argv) > 2 else "jwst_0001.pmap"
COUNT: collections.Counter[str] = collections.Counter()
CONTROL: dict[str, Any] = {"slow": 0.0, "corrupt": [], "fail": {}, "rpc_fail": 0, "refuse": []}
LOCK = threading.Lock()


def catalog() -> dict[str, dict[str, str]]:
    return json.loads((STORE / "catalog.json").read_text())


def info() -> dict[str, Any]:
    base = f"http://127.0.0.1:{SERVER.server_port}/unchecked_get"
    return {
        "observatory": "jwst",
        "latest_context": CONTEXT,
        "operational_context": CONTEXT,
        "edit_context": CONTEXT,
        "bad_files_list": ["jwst_nircam_flat_0666.fits"],
        "bad_files": "jwst_nircam_flat_0666.fits",
        "mappings": [name for name in catalog() if name.endswith("map")],
        "crds_version": {"str": "14.0.3"},
        "force_remote_mode": False,
        "last_synced": "2026-01-01 00:00:00",
        "mapping_url": {"unchecked": {"jwst": f"{base}/mappings/jwst"}},
        "reference_url": {"unchecked": {"jwst": f"{base}/references/jwst"}},
        "download_metadata": catalog(),
    }


def call(method: str, params: list[Any]) -> Any:
    if method in CONTROL["refuse"]:
        raise LookupError(f"unknown method {method}")
    if method == "get_server_info":
        return info()
    if method == "get_build_context":
        return CONTEXT
    if method == "get_mapping_names":
        if params[0] != CONTEXT:
            raise LookupError(f"unknown context {params[0]}")
        return [name for name in catalog() if name.endswith("map")]
    if method == "get_file_info_map":
        known = catalog()
        return {name: known.get(name, "NOT FOUND") for name in params[1] or known}
    raise LookupError(f"unknown method {method}")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, code: int, body: bytes, seconds: float = 0.0) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        step = max(1, len(body) // 20) if seconds else max(1, len(body))
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            self.wfile.flush()
            time.sleep(seconds / 20)

    def body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def do_PUT(self) -> None:
        CONTROL.update(self.body())
        self.answer(200, b"{}")

    def do_POST(self) -> None:
        asked = self.body()
        with LOCK:
            COUNT[asked["method"]] += 1
            failing, CONTROL["rpc_fail"] = CONTROL["rpc_fail"] > 0, max(0, CONTROL["rpc_fail"] - 1)
        if failing:
            return self.answer(503, b"later")
        reply: dict[str, Any] = {"id": asked["id"], "result": None, "error": None}
        try:
            reply["result"] = call(asked["method"], asked["params"])
        except LookupError as error:
            reply["error"] = {"message": str(error), "code": -32601}
        return self.answer(200, json.dumps(reply).encode())

    def do_GET(self) -> None:
        if self.path == "/stats":
            return self.answer(200, json.dumps(COUNT).encode())
        kind, _, name = self.path.removeprefix("/unchecked_get/").split("/")
        with LOCK:
            COUNT[name] += 1
            left = CONTROL["fail"].get(name, 0)
            CONTROL["fail"][name] = max(0, left - 1)
        path = STORE / kind / name
        if left:
            return self.answer(503, b"later")
        if not path.is_file():
            return self.answer(404, b"none")
        data = path.read_bytes()
        if name in CONTROL["corrupt"]:
            data = data[:-1] + bytes([data[-1] ^ 1])
        return self.answer(200, data, CONTROL["slow"] if kind == "references" else 0.0)


class Quiet(ThreadingHTTPServer):
    """Clients that are killed in the middle of an answer are part of the tests."""

    def handle_error(self, *args: Any) -> None:
        pass


SERVER = Quiet(("127.0.0.1", 0), Handler)
print(SERVER.server_port, flush=True)
SERVER.serve_forever()
