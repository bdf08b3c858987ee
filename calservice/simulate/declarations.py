"""What one observing mode is, as plain values: the vocabulary of the simulator's declarations.

Everything that tells one instrument from another is said here as a number, a name or a small table;
the code that draws stars, reads ramps and writes reference files asks these values and never the
instrument's name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Subarray:
    """One readout window of a detector.

    Parameters
    ----------
    name : str
        Value of SUBARRAY.
    xstart, ystart : int
        First column and row, counted from 1 on the full detector (SUBSTRT1, SUBSTRT2).
    xsize, ysize : int
        Columns and rows (SUBSIZE1, SUBSIZE2).
    frame_time : float
        Seconds from one frame to the next (TFRAME).
    outputs : int
        Amplifiers that read the window (NOUTPUTS).
    """

    name: str
    xstart: int
    ystart: int
    xsize: int
    ysize: int
    frame_time: float
    outputs: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of an image of this window."""
        return self.ysize, self.xsize

    @property
    def center(self) -> tuple[float, float]:
        """Column and row of the middle, counted from 0 within the window."""
        return (self.xsize - 1) / 2, (self.ysize - 1) / 2


@dataclass(frozen=True)
class ReadoutPattern:
    """How frames become groups.

    Parameters
    ----------
    name : str
        Value of READPATT.
    nframes : int
        Frames averaged into one group.
    groupgap : int
        Frames read and dropped between groups.
    """

    name: str
    nframes: int
    groupgap: int

    def frames(self, groups: int) -> int:
        """Frames from the reset to the end of the last of `groups` groups."""
        return groups * self.nframes + (groups - 1) * self.groupgap


@dataclass(frozen=True)
class Border:
    """Width in pixels of the reference-pixel frame around a detector's light-sensitive area."""

    left: int
    right: int
    bottom: int
    top: int


@dataclass(frozen=True)
class Electronics:
    """Offsets and drifts that the readout adds after the pixels, all in DN.

    Parameters
    ----------
    interleaved : bool
        Whether outputs take turns column by column; otherwise each owns a band of columns.
    odd_even : {"column", "row"}
        The axis along which neighbouring pixels of one output differ in offset.
    offset : float
        Spread of the constant offsets of outputs and odd/even sets.
    drift : float
        Spread of those offsets from frame to frame.
    flicker : float
        Amplitude of the 1/f noise, constant along a row.
    reset : float
        Spread of the pixel offsets that a reset leaves (kTC noise).
    """

    interleaved: bool
    odd_even: str
    offset: float
    drift: float
    flicker: float
    reset: float


@dataclass(frozen=True)
class Detector:
    """Response of one detector.

    Parameters
    ----------
    name : str
        Value of DETECTOR.
    columns, rows : int
        Full size, reference pixels included.
    border : Border
        Reference pixels.
    fastaxis, slowaxis : int
        Readout directions (FASTAXIS, SLOWAXIS).
    gain : float
        Electrons per DN.
    read_noise : float
        Standard deviation of one read, DN.
    dark : float
        Dark current, DN per second.
    bias : float
        Mean level after a reset, DN.
    full_well : float
        Signal above the bias at which a pixel stops responding, DN.
    nonlinearity : tuple of float
        Relative second and third coefficients: a pixel that reads `m` has truly collected
        ``m * (1 + a * (m / full_well) + b * (m / full_well) ** 2)``.
    superbias : bool
        Whether a superbias reference removes the bias before the linearity correction; if not, the
        linearity polynomial takes the raw value.
    electronics : Electronics
        Offsets and drifts of the readout.
    cosmic_rays : float
        Hits per pixel and second.
    large_events : float
        Mean number of large events (snowballs, showers) per integration, whatever its window and
        length: more than in flight, so that small programs have some.
    large_event_core : float
        Electrons in each pixel of a large event's core.
    large_event_halo : float
        Electrons in a pixel of a large event's halo, next to its core.
    large_event_radius : tuple of float
        Smallest and largest radius of the core, pixels.
    """

    name: str
    columns: int
    rows: int
    border: Border
    fastaxis: int
    slowaxis: int
    gain: float
    read_noise: float
    dark: float
    bias: float
    full_well: float
    nonlinearity: tuple[float, float]
    superbias: bool
    electronics: Electronics
    cosmic_rays: float
    large_events: float
    large_event_core: float
    large_event_halo: float
    large_event_radius: tuple[float, float]


@dataclass(frozen=True)
class Optics:
    """Where the detector looks and what a star looks like on it.

    Parameters
    ----------
    v2_ref, v3_ref : float
        Position of the reference pixel in the telescope frame, arcsec.
    v3_idl_yangle : float
        Angle from V3 to the ideal y axis, degrees (V3I_YANG).
    vparity : int
        Sense of the ideal x axis (VPARITY).
    x_ref, y_ref : float
        Reference pixel, counted from 0 on the full detector.
    x_scale, y_scale : float
        Ideal arcsec per pixel at the reference pixel.
    x_quadratic, y_quadratic : tuple of float
        Coefficients of dx**2, dx*dy and dy**2 in the ideal x and y, arcsec per pixel squared.
    fwhm : float
        Full width at half maximum of the star image's core, arcsec.
    halo_fraction : float
        Share of the light in the halo, a second Gaussian.
    halo_width : float
        Width of the halo in units of the core's.
    filter_offset : tuple of float
        Column and row shift of this filter, pixels.
    """

    v2_ref: float
    v3_ref: float
    v3_idl_yangle: float
    vparity: int
    x_ref: float
    y_ref: float
    x_scale: float
    y_scale: float
    x_quadratic: tuple[float, float, float]
    y_quadratic: tuple[float, float, float]
    fwhm: float
    halo_fraction: float
    halo_width: float
    filter_offset: tuple[float, float] = (0.0, 0.0)

    @property
    def pixel_arcsec2(self) -> float:
        """Nominal area of a pixel, square arcsec."""
        return self.x_scale * self.y_scale

    @property
    def pixel_steradian(self) -> float:
        """Nominal area of a pixel, steradian."""
        return self.pixel_arcsec2 * math.radians(1 / 3600) ** 2

    @property
    def sigma(self) -> float:
        """Standard deviation of the star image's core, pixels."""
        scale = math.sqrt(self.pixel_arcsec2)
        return self.fwhm / scale / math.sqrt(8 * math.log(2))


@dataclass(frozen=True)
class Photometry:
    """Flux calibration.

    Parameters
    ----------
    photmjsr : float
        MJy/sr for one DN per second.
    background : float
        Uniform sky and telescope light, MJy/sr.
    ab_vega : float
        AB minus Vega magnitude.
    """

    photmjsr: float
    background: float
    ab_vega: float


@dataclass(frozen=True)
class ReferenceType:
    """One reference type that a mode is given.

    Parameters
    ----------
    parkeys : tuple of str
        Names of the dataset parameters that select the file; the date always follows them.
    model : str
        Data model class that writes the file.
    suffix : {"fits", "asdf"}
        File format.
    """

    parkeys: tuple[str, ...]
    model: str
    suffix: str = "fits"


@dataclass(frozen=True)
class Mode:
    """One observing mode on one detector.

    Parameters
    ----------
    name : str
        Key in `MODES`.
    instrument, module, channel, filter, pupil : str or None
        Values of INSTRUME, MODULE, CHANNEL, FILTER and PUPIL; None where the keyword is absent.
    exp_type : str
        Value of EXP_TYPE.
    template : str
        Observation template.
    aperture : str
        Stem of the aperture name, in front of the subarray's.
    dither : str
        Value of PATTTYPE.
    detector, optics, photometry : Detector, Optics, Photometry
        What the light meets.
    subarrays : tuple of Subarray
        Windows that can be asked for; `default_subarray` names the one taken otherwise.
    readout : ReadoutPattern
        How frames become groups.
    table_key : {"pupil", "subarray"}
        The column beside FILTER that selects rows of the photom and apcorr tables.
    references : mapping of str to ReferenceType
        The reference files that the mode is given; every other type is 'N/A'.
    """

    name: str
    instrument: str
    module: str | None
    channel: str | None
    filter: str
    pupil: str | None
    exp_type: str
    template: str
    aperture: str
    dither: str
    detector: Detector
    optics: Optics
    photometry: Photometry
    subarrays: tuple[Subarray, ...]
    default_subarray: str
    readout: ReadoutPattern
    table_key: str
    references: Mapping[str, ReferenceType] = field(default_factory=lambda: MappingProxyType({}))

    def subarray(self, name: str | None = None) -> Subarray:
        """Return the window called `name`, or the default one.

        Raises
        ------
        ValueError
            If the mode has no window of that name.
        """
        wanted = self.default_subarray if name is None else name
        for window in self.subarrays:
            if window.name == wanted:
                return window
        known = ", ".join(window.name for window in self.subarrays)
        raise ValueError(f"{self.name} has no subarray {wanted!r}; it has {known}")

    @property
    def optical_element(self) -> str:
        """Name of the optical elements as it appears in product names."""
        elements = [part for part in (self.pupil, self.filter) if part is not None]
        return "-".join(elements).lower()

    def parameters(self, subarray: Subarray) -> dict[str, str]:
        """Dataset parameters that a reference can be selected by, with their values here."""
        values = {
            "META.INSTRUMENT.NAME": self.instrument,
            "META.INSTRUMENT.DETECTOR": self.detector.name,
            "META.INSTRUMENT.MODULE": self.module,
            "META.INSTRUMENT.CHANNEL": self.channel,
            "META.INSTRUMENT.FILTER": self.filter,
            "META.INSTRUMENT.PUPIL": self.pupil,
            "META.EXPOSURE.TYPE": self.exp_type,
            "META.EXPOSURE.READPATT": self.readout.name,
            "META.SUBARRAY.NAME": subarray.name,
        }
        return {key: value for key, value in values.items() if value is not None}
