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
_PICTURE = "jwst.picture_frame.tests.test_picture_frame"
_FLICKER = "jwst.clean_flicker_noise.tests"
_REFPIX = "jwst.refpix.tests.test_refpix"
_EMICORR = "jwst.emicorr.tests.test_emicorr::test_emicorrstep"

EXPECTED = (
    Expected(
        "stdatamodels 6.0 lets a model of another rank pass with a warning in other words than the test waits for",
        (f"{_STPIPE}.test_prepare_output::test_prepare_output_open_as_ramp_incompatible_pixeldq",),
    ),
    Expected(
        "needs the reference files of a WCS, which the local context does not have",
        (
            f"{_PICTURE}_step::test_run_in_pipeline[False]",
            f"{_PICTURE}_step::test_output_type",
            f"{_PICTURE}_step::test_save_correction",
            f"{_PICTURE}_step::test_save_mask",
            f"{_PICTURE}::test_correction_invalid_data",
            f"{_PICTURE}::test_correction_no_msa",
            f"{_PICTURE}::test_correction_ramp",
            f"{_PICTURE}::test_correction_rate",
            f"{_PICTURE}::test_correction_rateints",
            f"{_FLICKER}.test_clean_flicker_noise::test_create_mask_nirspec[mos_fs]",
            f"{_FLICKER}.test_clean_flicker_noise::test_do_correction_nirspec_rate[True]",
            f"{_FLICKER}.test_clean_flicker_noise::test_mask_ifu_slices",
            f"{_FLICKER}.test_clean_flicker_noise::test_mask_slits[fs-0.05]",
            f"{_FLICKER}.test_clean_flicker_noise::test_mask_slits[mos-0.012]",
            f"{_FLICKER}.test_clean_flicker_noise::test_mask_slits[mos_fs-0.025]",
            f"{_FLICKER}.test_clean_flicker_noise::test_postprocess_rate_miri",
            f"{_FLICKER}.test_clean_flicker_noise::test_postprocess_rate_nirspec",
            f"{_FLICKER}.test_tso_median_image::test_miri_image_tso",
            f"{_FLICKER}.test_tso_median_image::test_nrs_bots_success",
        ),
    ),
    Expected(
        "needs the reference of the traces of NIRISS SOSS, which the local context does not have",
        (
            f"{_FLICKER}.test_clean_flicker_noise::test_create_mask_soss",
            f"{_FLICKER}.test_clean_flicker_noise::test_do_correction_median_image_one_int",
            f"{_FLICKER}.test_clean_flicker_noise::test_do_correction_median_image_rateints",
            f"{_FLICKER}.test_clean_flicker_noise_step::test_tso_median_image",
            f"{_FLICKER}.test_tso_median_image::test_soss_background_replace_invalid",
            f"{_FLICKER}.test_tso_median_image::test_soss_extract",
        ),
    ),
    Expected(
        "waits for words, or a logger, of the official log; ours says the same in its own",
        (
            f"{_EMICORR}_override_reffile",
            f"{_EMICORR}_skip_for_small_groups",
            f"{_EMICORR}_skip_instrument",
            f"{_EMICORR}_skip_no_reffile",
            f"{_EMICORR}_skip_readpatt",
            f"{_FLICKER}.test_clean_flicker_noise_step::test_apply_flat",
            f"{_FLICKER}.test_clean_flicker_noise_step::test_autoparam_not_available",
            f"{_PICTURE}_step::test_unsupported_mode",
            f"{_REFPIX}::test_irs2_no_side_ref",
            f"{_REFPIX}::test_missing_irs2_ref",
            f"{_REFPIX}::test_missing_sirs_ref",
            f"{_REFPIX}::test_run_sirs",
            f"{_REFPIX}::test_skip_sirs_miri",
            f"{_REFPIX}::test_skip_sirs_subarray",
            "jwst.jump.tests.test_jump_step::test_uneven_sampling",
            "jwst.persistence.tests.test_persistence_step::test_persistence_backwards_flagging_guard",
            "jwst.persistence.tests.test_persistence_step::test_persistence_mismatch_persistence_time_guard",
            "jwst.ramp_fitting.tests.test_ramp_fit_step::test_uneven_sampling",
        ),
        frozenset({NATIVE, BASE}),
    ),
    Expected(
        "puts functions that fail in the place of the official step's own",
        (
            f"{_EMICORR}_skip_for_failure",
            f"{_REFPIX}::test_refpix_bad_reference_pixels",
            f"{_REFPIX}::test_refpix_bad_subarray",
        ),
        frozenset({NATIVE, BASE}),
    ),
    Expected(
        "waits for a warning that a parameter is deprecated, which in ours its description says",
        (f"{_EMICORR}_user_reffile",),
        frozenset({NATIVE, BASE}),
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
        "waits for the official base to log the version of jwst, or to let all of an official step's log through",
        (
            f"{_STPIPE}.test_step::test_finalize_logging",
            f"{_FLICKER}.test_clean_flicker_noise_step::test_autoparam_failed",
            f"{_FLICKER}.test_clean_flicker_noise_step::test_autoparam_nircam_image",
            f"{_FLICKER}.test_clean_flicker_noise_step::test_autoparam_niriss_image",
        ),
        frozenset({BASE}),
    ),
)
