"""Running official steps: the only place where a ``jwst`` class is made and called.

Everything here is called in a process of its own (see `calservice.run.isolate`), since crds, stpipe and logging keep
global state.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from calservice.engines.steplog import StepLog
from calservice.model.errors import (
    CalserviceError,
    EngineError,
    NoScienceData,
    OutputError,
    ReferenceFileError,
    StepFailed,
)

__all__ = ["call", "load", "pipeline_instance", "translate"]

NO_SCIENCE = 64


def load(path: str) -> Any:
    """Import the class with the given dotted path.

    Raises
    ------
    EngineError
        Where it cannot be imported.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as fault:
        raise EngineError(f"{path} cannot be imported: {fault}. Install: pip install 'calservice[jwst]'") from None


def call(
    path: str,
    primary: Path,
    parameters: Mapping[str, Any],
    folder: Path,
    entered: Callable[[str], None] | None = None,
) -> dict[str, float]:
    """Run a pipeline or step on a file or association; its products go to ``folder``.

    Parameters
    ----------
    path : str
        Dotted path of the class.
    primary : Path
        Exposure or association file.
    parameters : mapping
        Parameters that differ from the defaults, steps nested under ``steps``.
    folder : Path
        Where products are written.
    entered : callable, optional
        Told the name of the step that runs from now on.

    Returns
    -------
    dict
        Seconds that each step took that ran, by its name in the pipeline (by alias where it is called alone).

    Raises
    ------
    CalserviceError
        As `translate` makes it of whatever the step raised.
    """
    given = {**_plain(parameters), "output_dir": str(folder), "save_results": True}
    try:
        cls = load(path)

        def known(name: str) -> str:
            return str(cls.class_alias) if name == cls.__name__ else name

        def tell(name: str) -> None:
            if entered is not None:
                entered("" if name == cls.__name__ and hasattr(cls, "step_defs") else known(name))

        with StepLog(tell) as steps:
            cls.call(str(primary), configure_log=False, **given)
    except Exception as fault:
        raise translate(fault) from fault
    return {known(name): took for name, took in steps.seconds.items()}


def pipeline_instance(path: str, primary: Path, parameters: Mapping[str, Any], folder: Path) -> Any:
    """Return an official pipeline object whose steps can be run one by one.

    A step run through its pipeline works in place and honours ``skip``, as it does in the pipeline itself.
    """
    instance = load(path)(**{**_plain(parameters), "output_dir": str(folder), "save_results": True})
    instance.set_primary_input(str(primary))
    return instance


def translate(fault: BaseException) -> CalserviceError:
    """Turn what an official step raised into an error of ours, keeping its message."""
    if isinstance(fault, CalserviceError):
        return fault
    status = getattr(fault, "exit_status", None)
    if status == NO_SCIENCE:
        return NoScienceData("no science data: no spectrum falls on this detector")
    if isinstance(fault, OSError) and fault.errno is not None:
        import errno

        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            return OutputError("no space left for scratch files. Free some, or set --scratch, then submit again.")
    if isinstance(fault, MemoryError):
        return StepFailed("out of memory. Give the worker more memory, or fewer tasks at a time.")
    step = _step_of(fault)
    where = f"{step.name}: " if step is not None else ""
    absent = [kind for kind, name in getattr(step, "_reference_files_used", ()) if name == "N/A"]
    if absent and "N/A" in str(fault):
        return ReferenceFileError(
            f"{where}it cannot do without a reference that is not applicable (N/A) in this context: "
            f"{' or '.join(sorted(set(absent)))}. Name a file with --steps.{step.name}.override_<type>=FILE."
        )
    return StepFailed(f"{where}{_told(fault)}")


def _told(fault: BaseException) -> str:
    """Return what an exception says; of a traceback that was made its message, the last line."""
    message = str(fault).strip()
    if message.startswith("Traceback (most recent call last)"):
        return message.splitlines()[-1].strip()
    return f"{type(fault).__name__}: {message or 'no message'}"


def _step_of(fault: BaseException) -> Any:
    """Return the official step in which an exception was raised, the innermost one; None outside of any."""
    found = None
    trace = fault.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if hasattr(owner, "reference_file_types") and getattr(owner, "parent", None) is not None:
            found = owner
        trace = trace.tb_next
    return found


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) if isinstance(value, Mapping) else value for key, value in parameters.items()}


logging.getLogger(__name__).addHandler(logging.NullHandler())
