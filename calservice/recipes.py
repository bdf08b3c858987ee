"""Recipes: the ordered steps of each pipeline and mode, as data.

A pipeline that has no recipe here is run by the official engine in one piece. Orders are those of the JWST
documentation, *Pipeline Stages* (calwebb_detector1: NIR and MIRI columns; calwebb_dark; calwebb_guider).
"""

from __future__ import annotations

from dataclasses import dataclass

from calservice.model import modes

__all__ = ["OFF_BY_DEFAULT", "RECIPES", "Recipe", "recipe_for"]


@dataclass(frozen=True)
class Recipe:
    """Ordered steps of one pipeline for some instruments.

    Attributes
    ----------
    pipeline : str
        Alias of the pipeline.
    instruments : frozenset of str
        Instruments it serves.
    steps : tuple of str
        Aliases in the order of application.
    """

    @property
    def on(self) -> tuple[str, ...]:
        """The steps that run unless a parameter says otherwise."""
        return tuple(step for step in self.steps if step not in OFF_BY_DEFAULT)

    pipeline: str
    instruments: frozenset[str]
    steps: tuple[str, ...]


OFF_BY_DEFAULT = frozenset(
    ("emicorr", "firstframe", "charge_migration", "picture_frame", "clean_flicker_noise", "persistence")
)
"""Steps whose official default is ``skip=True``."""

_NIR = frozenset(("NIRCAM", "NIRISS", "NIRSPEC", "FGS"))
_MIRI = frozenset(("MIRI",))
_NIR_DETECTOR = ("group_scale", "dq_init", "saturation", "ipc", "superbias", "refpix", "linearity")
_MIRI_DETECTOR = ("group_scale", "dq_init", "emicorr", "saturation", "ipc", "firstframe", "lastframe", "reset")
_SLOPES = ("charge_migration", "jump", "picture_frame", "clean_flicker_noise", "persistence", "ramp_fit", "gain_scale")

RECIPES: tuple[Recipe, ...] = (
    Recipe(modes.DETECTOR1, _NIR, (*_NIR_DETECTOR, "dark_current", *_SLOPES)),
    Recipe(modes.DETECTOR1, _MIRI, (*_MIRI_DETECTOR, "linearity", "rscd", "dark_current", "refpix", *_SLOPES)),
    Recipe(modes.DARK, _NIR, _NIR_DETECTOR),
    Recipe(modes.DARK, _MIRI, (*_MIRI_DETECTOR, "linearity", "rscd")),
    Recipe(modes.GUIDER, frozenset(("FGS",)), ("dq_init", "guider_cds", "flat_field")),
)


def recipe_for(pipeline: str, instrument: str) -> Recipe | None:
    """Return the recipe of a pipeline for an instrument; None where the pipeline has none."""
    for recipe in RECIPES:
        if recipe.pipeline == pipeline and instrument.upper() in recipe.instruments:
            return recipe
    return None
