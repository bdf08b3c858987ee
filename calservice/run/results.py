"""What native steps made, put into datamodels: ramps changed in place, rates of ramps and of guide stars made anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calservice.model.block import Array
from calservice.model.modes import GUIDER_EXP_TYPES
from calservice.run.schemas import schema_of

__all__ = ["is_fitted", "of_integrations", "put_metadata", "put_results"]

_RATE_ARRAYS = ("data", "dq", "err", "var_poisson", "var_rnoise")
_IFU = ("NRS_IFU", "MIR_MRS")
_GUIDER_TABLES = ("planned_star_table", "flight_star_table", "pointing_table", "centroid_table", "track_sub_table")
_RAMP_DIMENSIONS, _CUBE_DIMENSIONS = 4, 3


def is_fitted(model: Any) -> bool:
    """Whether a model holds fitted images rather than ramps."""
    return bool(model.data.ndim < _RAMP_DIMENSIONS)


def of_integrations(model: Any) -> bool:
    """Whether a model holds an image of each integration, rather than one of the exposure."""
    return bool(model.data.ndim == _CUBE_DIMENSIONS)


def put_results(model: Any, made: Mapping[str, Array], integrations: Any = None) -> tuple[Any, Any]:
    """Put what native steps made into models; fitting makes new ones.

    Parameters
    ----------
    model : datamodel
        What the steps ran on: a ramp, guide star data, or fitted images, be it that of the exposure or those of
        its integrations. Changed in place, unless ramps were fitted.
    made : mapping of str to ndarray
        What `calservice.run.blocks.run_fused` returned.
    integrations : datamodel, optional
        The images of the integrations, where the steps ran on them as well as on that of the exposure.

    Returns
    -------
    model, integrations : datamodel
        The first is a ramp and the second None, or they hold the image of the exposure and those of its
        integrations. Rates of guide stars are one model.
    """
    if is_fitted(model):
        for name, array in made.items():
            kind = name.removeprefix("int_")
            owner = model if of_integrations(model) == (kind != name) else integrations
            setattr(owner, "data" if kind == "slope" else kind, array)
        return model, integrations
    if not {"slope", "int_slope"} & made.keys():
        for name, array in made.items():
            setattr(model, name, array)
        return model, None
    if str(model.meta.exposure.type).upper() in GUIDER_EXP_TYPES:
        return _guider_rates(model, made), None
    return _rates(model, made)


def _rates(model: Any, made: Mapping[str, Array]) -> tuple[Any, Any]:
    """Return the models of what ramp fitting makes: the image of the exposure, the cube of its integrations."""
    from stdatamodels.jwst import datamodels

    # What comes from a model that is valid, or from us, need not be held against the schema value by value; the whole
    # is when it is saved.
    image, cube = (
        kind(schema=schema_of(kind), validate_on_assignment=False)
        for kind in (datamodels.ImageModel, datamodels.CubeModel)
    )
    for result, prefix in ((image, ""), (cube, "int_")):
        result.update(model)
        for name in _RATE_ARRAYS:
            setattr(result, name, made[prefix + ("slope" if name == "data" else name)])
        result.meta.bunit_data = "DN/s"
        result.meta.bunit_err = "DN/s"
    cube.int_times = model.int_times
    if model.hasattr("int_times_stripe"):  # of stripes that were put together
        cube.int_times_stripe = model.int_times_stripe
    kind = str(model.meta.exposure.type).upper()
    lamp = kind in ("NRS_AUTOWAVE", "NRS_LAMP") and model.meta.instrument.lamp_mode == "IFU"
    if kind in _IFU or lamp:
        image = datamodels.IFUImageModel(image)
    return image, cube


def _guider_rates(model: Any, made: Mapping[str, Array]) -> Any:
    """Return the model of the rates of guide stars: one image of all integrations, or one each."""
    from stdatamodels.jwst import datamodels

    result = datamodels.GuiderCalModel()
    result.data = made["int_slope"] if "int_slope" in made else made["slope"][None]
    result.dq = made.get("dq", model.dq)
    result.err = made["int_err"] if "int_err" in made else made["err"][None]
    for name in _GUIDER_TABLES:
        if model.hasattr(name):
            setattr(result, name, getattr(model, name))
    result.update(model)
    result.meta.bunit_data = "DN/s"
    return result


def put_metadata(values: Mapping[str, Any], *models: Any) -> None:
    """Set metadata, given by datamodel path (``meta.exposure.gain_factor`` ...), of models; None is passed over."""
    for model in models:
        if model is None:
            continue
        for path, value in values.items():
            *parents, name = path.split(".")
            node = model
            for parent in parents:
                node = getattr(node, parent)
            setattr(node, name, value)
