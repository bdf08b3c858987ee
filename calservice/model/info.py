"""`ExposureInfo`: what kernels know of an exposure."""

from __future__ import annotations

from dataclasses import dataclass

from calservice.model.stripes import Stripes

__all__ = ["ExposureInfo"]


@dataclass(frozen=True)
class ExposureInfo:
    """The few facts of an exposure's header that kernels compute with. Times in seconds."""

    instrument: str
    detector: str
    exp_type: str
    readpatt: str
    subarray: str
    nints: int
    ngroups: int
    nrows: int
    ncols: int
    nframes: int
    groupgap: int
    frame_time: float
    group_time: float
    integration_start: int = 1
    """Number, from 1, of the first integration of this file within the exposure."""
    drop_frames: int = 0
    tsovisit: bool = False
    num_superstripe: int = 0
    """Number of stripes of a superstripe exposure, else 0."""
    read_times: tuple[float, ...] = ()
    """Times of the reads of an unevenly sampled exposure, else empty."""
    read_counts: tuple[int, ...] = ()
    """How many of these reads are averaged into each group."""
    xstart: int = 1
    """First column on the detector, from 1."""
    ystart: int = 1
    """First row on the detector, from 1."""
    fastaxis: int = 1
    """Along which axis of the data a row of the detector lies (FASTAXIS): 1, or 2 for columns; negative: backwards."""
    slowaxis: int = 2
    """Likewise SLOWAXIS."""
    noutputs: int = 0
    """Outputs that the detector is read through, 0 where it is not told."""
    stripes: Stripes | None = None
    """Which lines of the detector the pixels are those of, if they are several stripes of it."""
    integration_end: int | None = None
    """Number, from 1, of the last integration of this file within the exposure, if it is told."""
    exposure_nints: int | None = None
    """Integrations of the whole exposure, of which this file may hold a part, if it is told."""
    frame_divisor: int | None = None
    """What sums of frames were divided by on board, if that and NFRAMES are told."""
    start_time: float = 0.0
    """Start of the exposure, MJD (UTC)."""
    integration_time: float = 0.0
    """Effective time of an integration, seconds."""
    integration_starts: tuple[float, ...] = ()
    """Starts of the integrations of this file, MJD (UTC), if it has a table of them."""
    nsamples: int = 1
    """Samples averaged into a read of a pixel."""
    xsize: int = 0
    """Columns of the subarray, as its header tells it."""
    gain_factor: float | None = None
    """Factor of a gain setting that is not the standard one, if it is told."""
    irs2_pattern: tuple[int | None, int | None] = (None, None)
    """Pixels read between visits to interleaved reference pixels (NRS_NORM), and how many at each (NRS_REF)."""
    pupil_position: float | None = None
    """Position of the pupil wheel of NIRISS (PWCPOS), degrees, if it is told."""
