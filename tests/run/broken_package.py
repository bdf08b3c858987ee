"""A package whose import fails."""

raise RuntimeError("built for another machine")
