"""Log records as products embed them (``cal_logs``): one layout, without the folders of this machine."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["formatter", "recorded"]

_ABSOLUTE = re.compile(r"(?<!\w)/(?:[^/\s]+/)+([^/\s]+)")


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _ABSOLUTE.sub(r"\1", super().format(record))


def formatter() -> logging.Formatter:
    """Return the formatter of such records: UTC times, and of absolute paths the file names only."""
    layout = _Formatter("%(asctime)s.%(msecs)03d - %(name)s - %(levelname)s - %(message)s", "%Y-%m-%dT%H:%M:%S")
    layout.converter = time.gmtime
    return layout


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
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
