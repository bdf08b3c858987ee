"""What stpipe steps of JWST need around their ``process``, where the official package is not installed.

A small counterpart of ``jwst.stpipe.Step`` over ``stpipe.Step`` and stdatamodels, with the same rules for single
exposures: how inputs are opened and copied, what references are selected by, how outputs are named, what is recorded.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import stpipe
from stdatamodels.exceptions import ValidationWarning
from stdatamodels.jwst import datamodels
from stpipe import crds_client

from calservice.engines.spec import spec_text
from calservice.model import names
from calservice.model.step import Params
from calservice.run import models
from calservice.run.records import formatter

__all__ = ["ExposureStep"]

_MEMBERS = "associations need the official package: pip install 'calservice[jwst]'"


class ExposureStep(stpipe.Step):  # type: ignore[misc] # stpipe is not typed
    """A step on one exposure, given as a path or as an open datamodel."""

    spec = spec_text(Params, ("output_ext",))
    _log_records_formatter = formatter()

    @classmethod
    def _datamodels_open(cls, init: Any, **kwargs: Any) -> Any:
        return datamodels.open(init, **kwargs)

    @classmethod
    def _get_crds_parameters(cls, dataset: Any) -> tuple[dict[str, Any], str]:
        if isinstance(dataset, datamodels.JwstDataModel):
            return dataset.get_crds_parameters(), "jwst"
        if not isinstance(dataset, (str, Path)):
            raise TypeError(f"{type(dataset).__name__} is neither a path nor a datamodel")
        if Path(dataset).suffix.lower() == ".json":
            raise TypeError(f"{dataset}: {_MEMBERS}")
        return datamodels.read_metadata(Path(dataset), flatten=True), "jwst"

    @staticmethod
    def get_stpipe_loggers() -> tuple[str, ...]:
        """Return the names of the loggers that a run configures."""
        return ("stpipe", "stcal", "stdatamodels", "CRDS", "py.warnings")

    def prepare_output(
        self,
        init: Any,
        make_copy: bool | None = None,
        open_models: bool = True,
        open_as_type: Any = None,
        open_as_ramp: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Open a path, or copy a model unless the step is part of a pipeline.

        Parameters
        ----------
        init : str, Path or datamodel
            The exposure.
        make_copy : bool, optional
            Whether to copy; by default models are copied so that the input stays as it is.
        open_models : bool
            Whether to open paths; if not, they are returned as they are.
        open_as_type : type, optional
            Class of model to open it as.
        open_as_ramp : bool
            Whether to open it as the kind of ramp that its header tells of, if no class is given.
        **kwargs
            For the opening of a path.

        Returns
        -------
        datamodel, or str or Path
            The open exposure; the path where it is not to be opened.

        Raises
        ------
        TypeError
            For what is no exposure, a model of which no ramp can be made, or a path that is to be copied unopened.
        """
        is_model = isinstance(init, datamodels.JwstDataModel)
        if not is_model and (not isinstance(init, (str, Path)) or Path(init).suffix.lower() == ".json"):
            raise TypeError(f"{init!r}: {_MEMBERS}")
        if not is_model and not open_models:
            if make_copy:
                raise TypeError(f"Copy is not possible of {init}, which is not opened")
            return init
        kind = open_as_type or (_ramp_class(init) if open_as_ramp else None)
        if not is_model:
            model = (kind or datamodels.open)(init, **kwargs)
        else:
            model = init if kind is None or type(init) is kind else _converted(init, kind)
        copies = is_model and self.parent is None if make_copy is None else make_copy
        return model.copy() if copies else model

    def finalize_result(self, result: Any, reference_files_used: list[tuple[str, str]]) -> None:
        """Record version, references, context and log in a result; in a pipeline, the log is that of the pipeline.

        Parameters
        ----------
        result : datamodel
            One result of the step.
        reference_files_used : list of tuple
            Type and name of each reference.
        """
        if not isinstance(result, datamodels.JwstDataModel):
            return
        models.stamp_version(result)
        for reftype, name in reference_files_used:
            models.record_reference(result, reftype, name)
        if reference_files_used:
            models.record_context(result, crds_client.get_context_used("jwst"))
        if self.class_alias:
            if not hasattr(result, "cal_logs"):
                result.cal_logs = {}
            if self.parent is not None and self.parent.class_alias:
                setattr(result.cal_logs, self.parent.class_alias, list(self.parent.log_records))
            else:
                setattr(result.cal_logs, self.class_alias, self.log_records)

    def remove_suffix(self, name: str) -> tuple[str, str]:
        """Take a known suffix off a name without extension; return the rest and the separator."""
        return names.remove_suffix(name)


def _converted(model: Any, kind: Any) -> Any:
    """Return a model as one of another class, which shares its arrays where their types are the same."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r"(?s:.*)Array datatype .* not compatible", category=ValidationWarning)
        try:
            return kind(model)
        except ValidationWarning:
            raise TypeError(
                f"{type(model).__name__} is not compatible. "
                f"The file should be opened as a {kind.__name__} before calling the step"
            ) from None


def _ramp_class(init: Any) -> Any:
    if isinstance(init, datamodels.JwstDataModel):
        return models.ramp_class(init.meta.exposure.type, getattr(init.meta.subarray, "num_superstripe", None))
    found = datamodels.read_metadata(init, flatten=True)
    return models.ramp_class(found.get("meta.exposure.type"), found.get("meta.subarray.num_superstripe"))
