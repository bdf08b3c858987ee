"""Log records of a run: one layout, which names job, association, exposure and step; where they go.

Every stage writes its log beside its products. What the user wants to see besides goes to a second place: with
``calservice run`` to the terminal or where a ``stpipe-log.cfg`` says, else through a file that the worker follows.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from calservice.model.errors import ParameterError, StepFailed

__all__ = ["LOG_CONFIGURATIONS", "LogOptions", "Place", "Tail", "layout", "level_of", "logged", "place"]

LOG_CONFIGURATIONS = ("stpipe-log.cfg", "~/.stpipe-log.cfg", "/etc/stpipe-log.cfg")
"""Files that tell where log records go, unless options do; the first one that is there counts."""

_LOGGERS = ("jwst", "stcal", "stdatamodels", "stpipe", "tweakwcs", "CRDS", "calservice", "py.warnings")
"""Loggers of a run. Below INFO only these speak; libraries under them would drown them."""


@dataclass
class Place:
    """Where in a job this process is. A stage has a process to itself."""

    job: str = ""
    association: str = ""
    exposure: str = ""
    step: str = ""

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in vars(self).items() if value)

    def enter(self, step: str) -> None:
        """Note the step that runs from now on; empty: none."""
        self.step = step


place = Place()
"""Of this process."""


class _Layout(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO [job=… association=… exposure=… step=…] jwst.jump: message``, in UTC."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        text = "%(asctime)s.%(msecs)03dZ %(levelname)s [%(place)s] %(name)s: %(message)s"
        super().__init__(text, "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        record.place = str(place)
        return super().format(record)


def layout() -> logging.Formatter:
    """Return the formatter of log files and terminals."""
    return _Layout()


def level_of(word: str | int) -> int:
    """Return a level by name or number.

    Raises
    ------
    ParameterError
        Where there is no such level.
    """
    names = logging.getLevelNamesMapping()
    text = str(word).strip().upper()
    if text.isdigit():
        return int(text)
    if text not in names:
        raise ParameterError(f"{word}: no such log level. Levels: DEBUG, INFO, WARNING, ERROR, CRITICAL.")
    return names[text]


class _Break(logging.Handler):
    """Ends the run at a record of some level."""

    def emit(self, record: logging.LogRecord) -> None:
        raise StepFailed(f"a record of level {record.levelname} ends the run (break_level): {record.getMessage()}")


@dataclass
class LogOptions:
    """Where the log of ``calservice run`` goes, as ``strun`` is told it.

    Attributes
    ----------
    verbose : bool
        Everything.
    level : str or None
        Lowest level.
    file, stream : str or None
        A file to write; ``stdout``, ``stderr`` or ``null``.
    config : str or None
        A file in the form of ``stpipe-log.cfg``; not regarded where one of the above is given.
    """

    verbose: bool = False
    level: str | None = None
    file: str | None = None
    stream: str | None = None
    config: str | None = None
    number: int = field(default=logging.INFO, init=False)
    """The level that `handlers` found."""

    @property
    def kept(self) -> int:
        """The level of what logs beside products, and products, keep: INFO, or more where more is asked for."""
        return min(self.number, logging.INFO)

    def handlers(self) -> list[logging.Handler]:
        """Return the handlers, open.

        Raises
        ------
        ParameterError
            Where an option or the configuration file cannot be used.
        """
        if not (self.verbose or self.level or self.file or self.stream):
            found = self.config or next(
                (path for name in LOG_CONFIGURATIONS if os.path.exists(path := os.path.expanduser(name))), None
            )
            if found is not None:
                return self._configured(found)
        self.number = logging.DEBUG if self.verbose else level_of(self.level or "INFO")
        words = [self.stream or "stdout", *([f"file:{self.file}"] if self.file else [])]
        return [_handler(word, layout(), self.number) for word in words]

    def _configured(self, path: str) -> list[logging.Handler]:
        from configobj import ConfigObj, ConfigObjError

        if not os.path.exists(path):
            raise ParameterError(f"{path}: no such file. --logcfg names a file in the form of stpipe-log.cfg.")
        try:
            content = ConfigObj(path, raise_errors=True, interpolation=False)
        except (ConfigObjError, OSError, UnicodeDecodeError) as fault:
            raise ParameterError(f"{path}: cannot be read as a log configuration: {fault}") from None
        section = next((content[name] for name in ("*", ".", "root", "") if name in content), None)
        if not isinstance(section, dict):
            raise ParameterError(f"{path}: no section [*], with handler and level, in it")
        if unknown := set(section) - {"handler", "level", "break_level", "format"}:
            raise ParameterError(f"{path}: unknown: {', '.join(sorted(unknown))}; known: handler, level, ...")
        self.number = level_of(section.get("level", "INFO"))
        words = section.get("handler", "stdout")
        style = logging.Formatter(section["format"]) if "format" in section else layout()
        given = words.split(",") if isinstance(words, str) else words
        found = [_handler(word, style, self.number) for word in given]
        if "break_level" in section and (number := level_of(section["break_level"])) > logging.NOTSET:
            found.append(_Break(number))
        return found


def _handler(word: str, style: logging.Formatter, level: int) -> logging.Handler:
    kind, _, path = word.strip().partition(":")
    found: logging.Handler
    if kind in ("file", "append") and path:
        try:
            found = logging.FileHandler(path, "w" if kind == "file" else "a", "utf-8")
        except OSError as fault:
            raise ParameterError(f"{path}: the log cannot be written: {fault.strerror}") from None
    elif word.strip() in ("stdout", "stderr"):
        found = logging.StreamHandler(getattr(sys, word.strip()))
    elif word.strip() == "null":
        found = logging.NullHandler()
    else:
        raise ParameterError(f"{word}: no place for log records. Known: stdout, stderr, null, file:PATH, append:PATH.")
    found.setFormatter(style)
    found.setLevel(level)
    return found


@contextmanager
def logged(path: Path, where: Place, level: int = logging.INFO, also: Sequence[logging.Handler] = ()) -> Iterator[None]:
    """Send the records of a stage to a file, for as long as it is entered.

    Parameters
    ----------
    path : Path
        The file.
    where : Place
        What records are marked with.
    level : int
        Lowest level.
    also : sequence of Handler
        Where else they go.
    """
    vars(place).update(vars(where))
    beside = logging.FileHandler(path, "w", "utf-8")
    beside.setFormatter(layout())
    handlers = (beside, *also)
    root = logging.getLogger()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(max(level, logging.INFO))
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
    crds_logger = logging.getLogger("CRDS")
    for console in list(crds_logger.handlers):
        crds_logger.removeHandler(console)
    crds_logger.propagate = True
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.flush()
        beside.close()
        vars(place).update(vars(Place()))


class Tail:
    """Follows files of log records while they grow.

    Parameters
    ----------
    folder : Path
        Where they appear, by the pattern ``*/shown.log``.
    tell : callable
        Told the lines that are new.
    """

    NAME = "shown.log"

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self.folder = folder
        self.tell = tell
        self._read: dict[Path, int] = {}

    def look(self) -> None:
        """Pass on what was written since the last look, whole lines only."""
        for path in sorted(self.folder.glob(f"*/{self.NAME}")):
            with open(path, "rb") as file:
                file.seek(self._read.get(path, 0))
                whole, newline, _ = file.read().rpartition(b"\n")
            if newline:
                self._read[path] = self._read.get(path, 0) + len(whole) + 1
                self.tell(whole.decode("utf-8", "replace"))
