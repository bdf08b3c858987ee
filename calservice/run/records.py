"""Log records as products embed them (``cal_logs``): the official layout, and nothing of this machine in them."""

from __future__ import annotations

import getpass
import ipaddress
import logging
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

__all__ = ["formatter", "recorded"]

_ABSOLUTE = re.compile(r"(?<!\w)/(?:[^/\s]+/)+([^/\s]+)")
_ADDRESS = re.compile(r"(?<![\w.])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]*(?::[0-9a-fA-F]*){2,7})(?![\w.])")


class _Formatter(logging.Formatter):
    """Leaves of absolute paths the file names, and nothing of what names this machine or its user."""

    def format(self, record: logging.LogRecord) -> str:
        text = _ABSOLUTE.sub(r"\1", super().format(record))
        return "" if _own_names().search(text) or any(map(_is_address, _ADDRESS.findall(text))) else text


@cache
def _own_names() -> re.Pattern[str]:
    names = {socket.gethostname()}
    with suppress(Exception):  # there is no name for a user who is only a number
        names.add(getpass.getuser())
    return re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names if name))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def formatter() -> logging.Formatter:
    """Return the formatter of such records: UTC, the layout of the official package.

    A record that names the user, the host or an IP address is left empty; of absolute paths the file name stays.
    """
    layout = _Formatter("%(asctime)s.%(msecs)03d - %(name)s - %(levelname)s - %(message)s", "%Y-%m-%dT%H:%M:%S")
    layout.converter = time.gmtime
    return layout


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(formatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Collect the records of this process for as long as it is entered."""
    handler = _Records()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield handler.lines
    finally:
        root.removeHandler(handler)
