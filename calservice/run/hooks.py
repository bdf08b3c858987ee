"""Hooks: what users have run before and after a step. Those of native steps and recipes; official steps run their own.

A hook is what stpipe takes for one: the dotted path of a function, of a step class or of a step with parameters
(``package.MyStep(threshold=3)``), a step object, or a command line, in which ``{0}`` stands for the exposure's file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["run_hooks"]


def run_hooks(hooks: Sequence[Any], given: Any, name: str, alias: str, folder: Path) -> Any:
    """Run hooks one after the other, each on what the one before returned.

    Parameters
    ----------
    hooks : sequence
        What to run.
    given : object
        What the first one gets: a datamodel, a tuple of them, or the path of the input of a pipeline.
    name : str
        Name of the step, or pipeline, that the hooks belong to, as stpipe qualifies it.
    alias : str
        Alias under which the log of the run is kept.
    folder : Path
        Folder for what hooks save.

    Returns
    -------
    object
        What the last hook returned; a hook that returns nothing passes on what it got.

    Raises
    ------
    Exception
        Whatever a hook raises.
    """
    if not hooks:
        return given
    host = _host_class()(name, pre_hooks=list(hooks), output_dir=str(folder))
    host.class_alias = alias
    return host.run(given)


def _host_class() -> Any:
    import stpipe
    from stdatamodels.jwst import datamodels

    class Host(stpipe.Step):  # type: ignore[misc] # stpipe is not typed
        """Does nothing but run its hooks: stpipe makes them, and calls them, for a step."""

        spec = "output_ext = string(default='.fits')"

        @classmethod
        def _datamodels_open(cls, init: Any, **extra: Any) -> Any:
            return datamodels.open(init, **extra)

        @staticmethod
        def get_stpipe_loggers() -> tuple[str, ...]:
            return ("stpipe",)

        def process(self, given: Any) -> Any:
            return given

    return Host
