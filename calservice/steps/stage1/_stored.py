"""Subtracting images of a reference from the groups of a block, from the file as it is stored where possible."""

from __future__ import annotations

from typing import Any

import numpy as np

from calservice.disk import DiskArray
from calservice.model.block import Array

__all__ = ["subtract_images"]


def subtract_images(
    data: Array, integrations: tuple[int, int], images: Any, place: tuple[int, ...], groups: tuple[int, int]
) -> None:
    """Subtract an image from each of the first groups of some integrations, where it is not NaN.

    Parameters
    ----------
    data : ndarray
        (integration, group, row, column) float32 in DN, contiguous; changed.
    integrations : tuple of int
        Half-open range of those to change.
    images : ndarray or DiskArray
        (..., group, row, column) of any float type in DN.
    place : tuple of int
        Place along the axes of ``images`` before that of groups.
    groups : tuple of int
        Half-open range of its groups: as many groups of ``data`` are changed.

    Raises
    ------
    OSError
        If the file of the images is shorter than it should be.
    """
    from calservice.steps.stage1 import _stored_kernels

    rows, columns = (slice(0, n) for n in images.shape[-2:])
    window = (*(slice(k, k + 1) for k in place), slice(*groups), rows, columns)
    stored = isinstance(images, DiskArray) and images.kept_as == ">f4"
    places = images.places(window) if stored else None
    done = 0
    if places is not None:
        room = np.empty(places.shape, np.uint32)
        done = _stored_kernels.subtract_stored(places.file, places.offsets, places.first, room, data, integrations)
    if done < groups[1] - groups[0]:  # of a file, this tells what is wrong with it
        left = (*window[:-3], slice(groups[0] + done, groups[1]), rows, columns)
        known = np.array(images[left], np.float32).reshape(-1, *images.shape[-2:])
        _stored_kernels.subtract_known(data, done, known, integrations)
