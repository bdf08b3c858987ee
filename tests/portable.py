"""Run pytest with the instructions that all x86 processors have: ``python tests/portable.py [words of pytest]``.

Last digits of the official package depend on the processor: with AVX-512, NumPy's powers and OpenBLAS's products of
single precision round otherwise. The likelihood fit then decides otherwise where chi-squared is 0 / 0, and fits of
flicker noise differ in the last digit (docs/parity.md). Native kernels give the same everywhere, so what they are
compared with has to be the same, too.
"""

from __future__ import annotations

import os
import sys

from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__


def environment() -> dict[str, str]:
    """Return what has to be set for that; nothing where NumPy uses no such instructions."""
    wide = [
        name
        for name in __cpu_dispatch__
        if __cpu_features__.get(name) and (name.startswith("AVX512") or name == "X86_V4")
    ]
    if not wide:
        return {}
    return {
        "NPY_DISABLE_CPU_FEATURES": " ".join(wide),
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "Haswell"),
    }


if __name__ == "__main__":
    os.execve(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[1:]], {**os.environ, **environment()})
