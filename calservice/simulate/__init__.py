"""Small JWST programs with known truth, made offline.

`simulate` writes raw exposures of a dithered star field, the reference files that calibrate them, a
CRDS context that selects those, the associations, and tables of what was put in. `empty_context`
writes a context in which nothing applies. `MODES` holds the declared modes: adding one is adding a
`Mode` value, and a maker in `references` for each new kind of reference file.
"""

from calservice.simulate.context import empty_context
from calservice.simulate.declarations import Mode
from calservice.simulate.modes import MODES
from calservice.simulate.program import Simulation, simulate

__all__ = ["MODES", "Mode", "Simulation", "empty_context", "simulate"]
