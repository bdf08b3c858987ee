"""`Held`: the exposure that a recipe works on - its datamodels, and the arrays that are kept apart from them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from calservice.disk import DiskArray
from calservice.model.block import Array
from calservice.model.step import Step
from calservice.run import models
from calservice.run.pixels import fill, open_lazily, settled
from calservice.run.results import put_results
from calservice.run.saving import Saver, place_holder

__all__ = ["Held"]

_EXTENSIONS = {"int_slope": "SCI"} | {
    f"int_{kind}": kind.upper() for kind in ("dq", "err", "var_poisson", "var_rnoise")
}
"""Where products have the images of integrations."""


class Held:
    """An exposure while steps work on it.

    Parameters
    ----------
    given : str or datamodel
        The exposure, or its path.
    kind : type
        Class of the datamodel that it is opened as.

    Attributes
    ----------
    model : datamodel
        The ramp; once it is fitted, the image of the exposure.
    integrations : datamodel or None
        The images of the integrations, once the ramp is fitted.
    """

    def __init__(self, given: Any, kind: Any) -> None:
        self.model: Any = given
        self.integrations: Any = None
        self._unread: dict[str, Array] = {}
        self._large: dict[str, DiskArray] = {}
        if type(given) is kind:
            return
        if isinstance(given, str) and kind.__name__ == "RampModel":  # guide stars' are small and have more arrays
            self.model, self._unread = open_lazily(Path(given), kind)
        else:
            self.model = kind(given)

    def __iter__(self) -> Iterator[Any]:
        """Give the models that there are."""
        return (model for model in (self.model, self.integrations) if model is not None)

    @property
    def zeroframe(self) -> Array | None:
        """The zero frames of a ramp, wherever they are; None where it has none."""
        stored = self.model.zeroframe if self.model.hasattr("zeroframe") else None
        found: Array | None = self._unread.get("zeroframe", stored)
        return found if found is not None and found.ndim else None

    def source(self, steps: Sequence[Step]) -> dict[str, Array]:
        """Return the arrays that steps read, wherever they are."""
        found = settled(models.source_arrays(self.model, steps, self.integrations), self._unread)
        return found | {name: cast(Array, array) for name, array in self._large.items() if name in found}

    def put(self, made: Mapping[str, Any], *, fitted: bool) -> None:
        """Put what steps made into the models; what is too large for them stays apart until it is saved.

        Parameters
        ----------
        made : mapping of str to ndarray
            What `calservice.run.blocks.run_fused` returned.
        fitted : bool
            Whether ramps were fitted, of which nothing is needed any more.
        """
        if fitted:
            self._unread = {}
        self.fill(made.keys())
        small = dict(made)
        for name, array in made.items():
            if isinstance(array, DiskArray) and name in _EXTENSIONS:
                self._large[name] = array
                small[name] = place_holder(array)
            elif isinstance(array, DiskArray):
                small[name] = np.asarray(array)
        self.model, self.integrations = put_results(self.model, small, self.integrations)

    def fill(self, made: Collection[str] = ()) -> None:
        """Read the pixels that are still in the file, but those that steps have made something new of."""
        fill(self.model, self._unread, self._unread.keys() - made)
        self._unread = {}

    def in_memory(self) -> None:
        """Have all arrays in the models, for what looks at them."""
        self.fill()
        large, self._large = {name: np.asarray(array) for name, array in self._large.items()}, {}
        if large:
            put_results(self.model, large, self.integrations)

    def save(self, model: Any, path: Path, saver: Saver) -> None:
        """Save one of the models, or another, with what is kept apart from it."""
        large = {_EXTENSIONS[n]: a for n, a in self._large.items()} if model is self.integrations else {}
        saver.save(model, path, large)
