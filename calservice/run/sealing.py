"""Checksums of what a stage reads and makes, and the way of its products to the disk, while other things go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from calservice.model.errors import OutputError
from calservice.products.store import checksum, flush

__all__ = ["Sealing"]

_FLUSHED_AT_A_TIME = 4
_SHARED = 512 * 2**20
"""Bytes of a product from which on all threads sum it up: it is the last that a stage waits for."""

_Seen = tuple[int, int]


class Sealing:
    """Sums up files, and has the disk take them in.

    Leaving its context drops what is not begun.

    Parameters
    ----------
    threads : int
        Files that are summed up at the same time, each by one thread: several threads on one file wait for each
        other at every piece, and for much longer where other work takes their processors. Only of large products,
        which are there when all other work is done, each takes all threads. With one, that begins when the sums are
        asked for: a single thread has better things to do before.
    flush : bool
        Whether products are to be on the disk of this machine.
    """

    def __init__(self, threads: int, *, flush: bool) -> None:
        self._threads = threads
        self._flush = flush
        self._summing = ThreadPoolExecutor(threads)
        self._flushing = ThreadPoolExecutor(_FLUSHED_AT_A_TIME)
        self._sums: dict[Path, tuple[_Seen, Future[str]]] = {}
        self._flushed: dict[Path, tuple[_Seen, Future[None]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        for pool in (self._summing, self._flushing):
            pool.shutdown(wait=False, cancel_futures=True)

    def inputs(self, paths: Iterable[Path]) -> None:
        """Begin with files that are there."""
        for path in paths if self._threads > 1 else ():
            self._sum(path)

    def product(self, path: Path) -> None:
        """Begin with a file that was made."""
        if self._flush:
            seen = _seen(path)
            if path not in self._flushed or self._flushed[path][0] != seen:
                self._flushed[path] = seen, self._flushing.submit(_flush, path)
        if self._threads > 1:
            self._sum(path, self._threads if path.stat().st_size >= _SHARED else 1)

    def sums(self, inputs: Iterable[Path], products: Iterable[Path]) -> Mapping[Path, str]:
        """Return the checksums of inputs as they were seen first, and of products as they are now and on the disk.

        Raises
        ------
        OutputError
            Where the disk did not take a product.
        """
        made = [*products]
        for path in made:
            self.product(path)
        begun = {path: self._sums[path][1] if path in self._sums else self._sum(path) for path in inputs}
        begun |= {path: self._sum(path) for path in made}
        found = {path: sum_.result() for path, sum_ in begun.items()}
        for path, (_, flushed) in self._flushed.items():
            if (fault := flushed.exception()) is not None and path in begun:
                raise OutputError(f"{path.name} cannot be written: {getattr(fault, 'strerror', None) or fault}")
        return found

    def _sum(self, path: Path, threads: int = 1) -> Future[str]:
        """Return the sum of a file, begun anew where it is another than before."""
        seen = _seen(path)
        if path not in self._sums or self._sums[path][0] != seen:
            self._sums[path] = seen, self._summing.submit(checksum, path, threads)
        return self._sums[path][1]


def _seen(path: Path) -> _Seen:
    """Return by what a file is known to be the same."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _flush(path: Path) -> None:
    with open(path, "rb") as file:
        flush(file)
