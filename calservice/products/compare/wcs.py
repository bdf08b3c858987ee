"""World coordinate systems, compared by what they do: both are evaluated on a grid of pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt

from calservice.products.compare.results import Settings, WcsDifference

__all__ = ["SKY_TOLERANCE", "as_written", "compare_trees_of_fits", "compare_wcs", "is_wcs"]

SKY_TOLERANCE = 0.01
"""How far apart two WCSs may put a pixel, in milliarcseconds: a thousandth of the smallest pixel is 30 times that."""

_BOX_TOLERANCE = 1e-3
_POINTS = 441
_MAS = 3.6e6
Grid = tuple[npt.NDArray[np.float64], ...]
Box = dict[int, tuple[float, float]]


def is_wcs(node: Any) -> bool:
    """Whether a node of a tree is a gWCS."""
    from gwcs import WCS

    return isinstance(node, WCS)


def compare_trees_of_fits(a: Any, b: Any, settings: Settings) -> tuple[WcsDifference, ...]:
    """Compare the WCSs in the ASDF extensions of two FITS files; the rest of these is not compared.

    Parameters
    ----------
    a, b : astropy.io.fits.HDUList
        The files, opened.
    settings : Settings
        Tolerances for coordinates that are not on the sky.

    Returns
    -------
    tuple of WcsDifference
        One for each WCS; none where the extensions are equal byte for byte.
    """
    if a["ASDF"].data.tobytes() == b["ASDF"].data.tobytes():
        return ()
    from stdatamodels import asdf_in_fits

    found: list[dict[str, Any]] = []
    with ExitStack() as stack:  # arrays of the trees are read when they are needed
        for hdus in (a, b):
            try:
                tree = asdf_in_fits.open(hdus, ignore_missing_extensions=True, ignore_unrecognized_tag=True)
                found.append(dict(_walk(stack.enter_context(tree).tree)))
            except Exception as fault:  # noqa: BLE001 - whatever the extension holds, the rest is compared
                reason = f"the ASDF extension of {'B' if found else 'A'} cannot be read: {fault}"
                return (WcsDifference("", reason=reason.splitlines()[0], same=False),)
        paths = list(found[0]) + [path for path in found[1] if path not in found[0]]
        return tuple(
            compare_wcs(path, found[0][path], found[1][path], settings, _size(a))
            if path in found[0] and path in found[1]
            else WcsDifference(path, reason=f"only in {'A' if path in found[0] else 'B'}", same=False)
            for path in paths
        )


def _walk(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if is_wcs(node):
        yield path, node
    elif isinstance(node, Mapping):
        for key, inner in node.items():
            yield from _walk(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(node, Sequence) and not isinstance(node, str | bytes):
        for index, inner in enumerate(node):
            yield from _walk(inner, f"{path}[{index}]")


def _size(hdus: Any) -> tuple[int, ...]:
    """Return the pixels of the image, fastest axis first, or the rows of the first table."""
    for hdu in hdus:
        if hdu.name == "SCI" and hdu.is_image:
            return tuple(reversed(hdu.shape))
    rows = [int(hdu.header["NAXIS2"]) for hdu in hdus if not hdu.is_image and hdu.name != "ASDF"]
    return tuple(rows[:1])


def compare_wcs(path: str, a: Any, b: Any, settings: Settings, size: Sequence[int] = ()) -> WcsDifference:
    """Evaluate two WCSs on one grid of pixels.

    Parameters
    ----------
    path : str
        Where in the tree they are.
    a, b : gwcs.WCS
        The two.
    settings : Settings
        Tolerances for coordinates that are not on the sky; on the sky it is `SKY_TOLERANCE`.
    size : sequence of int
        How many pixels there are along each input, where the WCS does not say (by a bounding box).
    """
    frames = [list(w.available_frames) for w in (a, b)]
    if frames[0] != frames[1] or a.forward_transform.n_inputs != b.forward_transform.n_inputs:
        return WcsDifference(path, reason=f"frames differ: A {frames[0]}, B {frames[1]}", same=False)
    boxes = [_boxes(w) for w in (a, b)]
    outlines = _alike(boxes[0], boxes[1])
    try:
        grid = _grid(boxes[0], a.forward_transform.n_inputs, size)
        if not outlines:
            more = _grid(boxes[1], a.forward_transform.n_inputs, size)
            grid = tuple(np.concatenate(both) for both in zip(grid, more, strict=True))
        # boxes chosen by an input take one value of it at a time; the grid lies within them anyway
        inside = not any(_chosen(w) for w in (a, b))
        worlds = [_evaluate(w, grid, inside=inside) for w in (a, b)]
        if not any(np.isfinite(world[0]).any() for world in worlds):
            raise ValueError("no pixel of the grid has coordinates")
    except Exception as fault:  # noqa: BLE001 - models raise what they like outside of their tables
        same = outlines and as_written(a) == as_written(b)
        cause = (str(fault).splitlines() or [type(fault).__name__])[0][:120]
        return WcsDifference(path, reason=f"not evaluated ({cause}); compared as they are written", same=same)
    reason = "" if outlines else f"bounding boxes differ: A {_shown(boxes[0])}, B {_shown(boxes[1])}"
    return _judge(path, a, grid, worlds, settings, reason)


def _judge(path: str, a: Any, grid: Grid, worlds: list[Grid], settings: Settings, reason: str) -> WcsDifference:
    """Measure how far the coordinates of a grid are apart."""
    defined = [np.all([np.isfinite(axis) for axis in world], axis=0) for world in worlds]
    both, undefined = defined[0] & defined[1], int(np.count_nonzero(defined[0] ^ defined[1]))
    celestial = _celestial(a)
    sky = in_pixels = other = at = None
    same = not undefined and not reason
    if celestial is not None and both.any():
        apart = np.where(both, _separation(worlds[0], worlds[1], celestial), 0.0)
        worst = int(np.argmax(apart))
        sky, at = float(apart[worst]), tuple(float(axis[worst]) for axis in grid)
        scale = _scale(a, at, celestial)
        in_pixels = sky / scale if scale else None
        same = same and sky <= SKY_TOLERANCE
    for axis in range(len(worlds[0])):
        if both.any() and (celestial is None or axis not in celestial[:2]):
            x, y = (world[axis][both] for world in worlds)
            distance = np.abs(x - y)
            other = max(other or 0.0, float(distance.max()))
            same = same and bool(np.all(distance <= settings.atol + settings.rtol * np.abs(y)))
    return WcsDifference(path, len(grid[0]), sky, in_pixels, other, at, undefined, reason, same)


def _boxes(wcs: Any) -> list[Box]:
    """Return the bounding boxes: the range of each input, by number; several where an input selects one."""
    box = wcs.bounding_box
    if box is None:
        return []
    if not _chosen(wcs):
        return [{int(i): (float(range_[0]), float(range_[1])) for i, range_ in box.intervals.items()}]
    chosen = [int(argument.index) for argument in box.selector_args]
    return [
        {int(i): (float(range_[0]), float(range_[1])) for i, range_ in inner.intervals.items()}
        | {i: (float(value), float(value)) for i, value in zip(chosen, key, strict=True)}
        for key, inner in box.bounding_boxes.items()
    ]


def _chosen(wcs: Any) -> bool:
    """Whether the value of an input, such as a slice or an order, chooses the bounding box."""
    return hasattr(wcs.bounding_box, "bounding_boxes")


def _alike(a: list[Box], b: list[Box]) -> bool:
    if len(a) != len(b) or any(x.keys() != y.keys() for x, y in zip(a, b, strict=True)):
        return False
    return all(
        bool(np.allclose(x[axis], y[axis], rtol=0, atol=_BOX_TOLERANCE))
        for x, y in zip(a, b, strict=True)
        for axis in x
    )


def _grid(boxes: list[Box], inputs: int, size: Sequence[int]) -> Grid:
    """Spread some hundred points over the bounding boxes, else over the pixels.

    Inputs of a grism beyond the pixel are its direct image's pixel and the order: they are the same pixel, and 1.
    """
    known = {axis: (0.0, float(number - 1)) for axis, number in enumerate(size[:inputs])}
    pieces = []
    for box in boxes or [known or {0: (0.0, 31.0), 1: (0.0, 31.0)}]:
        axes = [i for i in range(inputs) if i in box]
        wide = sum(box[i][0] < box[i][1] for i in axes)
        number = max(3, round(_POINTS ** (1 / max(1, wide))))
        ranges = [_spread(*box[i], number) for i in axes]
        points = [part.ravel() for part in np.meshgrid(*ranges, indexing="ij")]
        by_axis = dict(zip(axes, points, strict=True))
        for i in range(inputs):
            if i not in by_axis:
                by_axis[i] = by_axis[i - 2] if inputs == 5 and i in (2, 3) else np.ones(points[0].shape)
        pieces.append([by_axis[i] for i in range(inputs)])
    return tuple(np.concatenate(axis) for axis in zip(*pieces, strict=True))


def _spread(low: float, high: float, number: int) -> npt.NDArray[np.float64]:
    """Spread whole pixels over a range, its first and last among them."""
    first, last = np.ceil(low), np.floor(high)
    if first >= last:
        return np.unique([low, high])
    return np.unique(np.round(np.linspace(first, last, number))) + 0.0  # which makes 0 of -0


def _evaluate(wcs: Any, grid: Sequence[Any], *, inside: bool) -> Grid:
    with np.errstate(all="ignore"):
        world = wcs(*grid, with_bounding_box=inside)
    outputs = world if isinstance(world, tuple | list) else (world,)
    shape = np.shape(grid[0])
    return tuple(np.broadcast_to(np.asarray(getattr(x, "value", x), np.float64), shape) for x in outputs)


def _celestial(wcs: Any) -> tuple[int, int, float] | None:
    """Return which outputs are longitude and latitude on the sky, and their unit in degrees."""
    from astropy import units

    kinds = [str(kind) for kind in wcs.world_axis_physical_types]
    for east, north in ((".ra", ".dec"), (".lon", ".lat")):
        found = [[i for i, kind in enumerate(kinds) if kind.endswith(end)] for end in (east, north)]
        if all(found):
            unit = units.Unit(wcs.world_axis_units[found[0][0]] or "deg")
            return found[0][0], found[1][0], float(unit.to(units.deg))
    return None


def _separation(a: Grid, b: Grid, celestial: tuple[int, int, float]) -> npt.NDArray[np.float64]:
    """Return the separation on the sky in milliarcseconds, exact for small ones."""
    east, north, unit = celestial
    lon, lat, lon_b, lat_b = (np.radians(axis * unit) for axis in (a[east], a[north], b[east], b[north]))
    with np.errstate(invalid="ignore"):
        half = np.sin((lat - lat_b) / 2) ** 2 + np.cos(lat) * np.cos(lat_b) * np.sin((lon - lon_b) / 2) ** 2
        return np.asarray(np.degrees(2 * np.arcsin(np.sqrt(half.clip(0, 1)))) * _MAS, np.float64)


def _scale(wcs: Any, at: tuple[float, ...], celestial: tuple[int, int, float]) -> float | None:
    """Return the size of a pixel in milliarcseconds: the longer step of one pixel along the first two inputs."""
    try:
        here = _evaluate(wcs, [np.array([x]) for x in at], inside=False)
        steps = []
        for axis in range(min(2, len(at))):
            beside = [np.array([x + (i == axis)]) for i, x in enumerate(at)]
            steps.append(float(_separation(here, _evaluate(wcs, beside, inside=False), celestial)[0]))
    except Exception:  # noqa: BLE001 - the next pixel may be outside of the model's tables
        return None
    known = [step for step in steps if np.isfinite(step) and step > 0]
    return max(known) if known else None


def as_written(node: Any) -> bytes:
    """Return a node as ASDF writes it; where it does not, as Python shows it."""
    import asdf

    content = io.BytesIO()
    try:
        asdf.AsdfFile({"node": node}).write_to(content, all_array_storage="inline")
    except Exception:  # noqa: BLE001 - there are objects that have no ASDF form
        return repr(node).encode()
    return content.getvalue()


def _shown(boxes: list[Box]) -> str:
    return "; ".join(str([list(box[i]) for i in sorted(box)]) for box in boxes[:3]) or "none"
