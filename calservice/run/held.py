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

_OF_INTEGRATIONS = "int_"
_EXTENSIONS = {
    prefix + kind: "SCI" if kind == "slope" else kind.upper()
    for prefix in ("", _OF_INTEGRATIONS)
    for kind in ("slope", "dq", "err", "var_poisson", "var_rnoise")
}
"""Where products have fitted images: that of the exposure, and those of its integrations."""


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
        names = self._names(model) & self._large.keys()
        saver.save(model, path, {_EXTENSIONS[name]: self._large[name] for name in names})

    def expect(self, shape: tuple[int, ...]) -> None:
        """Make the models of fitted images before there are images, of integrations, rows and columns."""
        kinds = {name: np.dtype("u4" if name.endswith("dq") else "f4") for name in _EXTENSIONS}
        shapes = {name: shape if name.startswith(_OF_INTEGRATIONS) else shape[1:] for name in _EXTENSIONS}
        self.put({name: np.zeros(shapes[name], kind) for name, kind in kinds.items()}, fitted=True)

    def reserve(self, saver: Saver, *paths: Path) -> dict[str, DiskArray]:
        """Make room for fitted images in their products, before there are images: see `Saver.reserve`.

        Parameters
        ----------
        saver : Saver
            Makes the room.
        *paths : Path
            Products of the exposure and of its integrations.

        Returns
        -------
        dict of str to DiskArray
            Where images are to be put, by name; none if they are not large.
        """
        places: dict[str, DiskArray] = {}
        for model, path in zip(self, paths, strict=True):
            room = saver.reserve(model, path)
            places |= {name: room[_EXTENSIONS[name]] for name in self._names(model) if _EXTENSIONS[name] in room}
        return places

    def _names(self, model: Any) -> set[str]:
        """Return the names of the fitted images that a model may hold."""
        if model is not self.model and model is not self.integrations:
            return set()
        return {name for name in _EXTENSIONS if name.startswith(_OF_INTEGRATIONS) == (model is self.integrations)}
