"""The nouns of calservice: small, typed, frozen; no I/O and no dask."""
