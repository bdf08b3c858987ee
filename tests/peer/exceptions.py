"""Official tests that are expected to fail, each with its reason; the plugin demands that they do."""

from __future__ import annotations

from dataclasses import dataclass

OFFICIAL, NATIVE, BASE = "official", "native", "base"
EVERYWHERE = frozenset({OFFICIAL, NATIVE, BASE})


@dataclass(frozen=True)
class Expected:
    """Tests that fail for one reason.

    Attributes
    ----------
    reason : str
        Why.
    tests : tuple of str
        ``module::function``, or with one of its parameters, ``module::function[parameter]``.
    modes : frozenset of str
        Under which of the plugin's substitutions.
    """

    reason: str
    tests: tuple[str, ...]
    modes: frozenset[str] = EVERYWHERE

    def holds(self, module: str, name: str, mode: str) -> bool:
        """Whether a test is one of them."""
        return mode in self.modes and not {f"{module}::{name}", f"{module}::{name.partition('[')[0]}"}.isdisjoint(
            self.tests
        )


_STPIPE = "jwst.stpipe.tests"

EXPECTED = (
    Expected(
        "stdatamodels 6.0 lets a model of another rank pass with a warning in other words than the test waits for",
        (f"{_STPIPE}.test_prepare_output::test_prepare_output_open_as_ramp_incompatible_pixeldq",),
    ),
    Expected(
        "needs the reference files of a WCS of NIRSpec's fixed slits, which the local context does not have",
        ("jwst.picture_frame.tests.test_picture_frame_step::test_run_in_pipeline[False]",),
    ),
    Expected(
        "is about the list of classes of the official package, which are not subclasses of our base",
        (
            f"{_STPIPE}.test_entry_points::test_get_steps",
            f"{_STPIPE}.test_integration::test_all_steps_in_step_all",
            f"{_STPIPE}.test_integration::test_all_pipelines_in_pipeline_all",
            "jwst.lib.tests.test_suffix::test_suffix_existence",
        ),
        frozenset({BASE}),
    ),
    Expected(
        "several models at a time, and associations, need classes of the official package; our base takes one exposure",
        (
            f"{_STPIPE}.test_prepare_output::test_prepare_output_from_container",
            f"{_STPIPE}.test_prepare_output::test_prepare_output_from_container_no_copy",
            f"{_STPIPE}.test_prepare_output::test_prepare_output_from_list_of_model",
            f"{_STPIPE}.test_prepare_output::test_prepare_output_from_list_of_model_no_copy",
            f"{_STPIPE}.test_prepare_output::test_prepare_output_from_list_of_str",
            f"{_STPIPE}.test_prepare_output::test_prepare_output_from_library",
            f"{_STPIPE}.test_prepare_output::test_prepare_output_pipeline_from_container",
            f"{_STPIPE}.test_prepare_output::test_prepare_output_pipeline_from_list_of_model",
            f"{_STPIPE}.test_prepare_output::test_prepare_output_pipeline_from_list_of_str",
            f"{_STPIPE}.test_step::test_add_asn_id_to_output_name_from_model",
        ),
        frozenset({BASE}),
    ),
    Expected(
        "names with the id of an association, which our base does not take",
        (
            f"{_STPIPE}.test_step::test_add_asn_id_to_output_name_from_step",
            f"{_STPIPE}.test_step::test_add_asn_id_to_output_name_from_step_parent",
        ),
        frozenset({BASE}),
    ),
    Expected(
        "waits for the official base to log the version of jwst",
        (f"{_STPIPE}.test_step::test_finalize_logging",),
        frozenset({BASE}),
    ),
)
