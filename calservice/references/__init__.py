"""Reference files: selection in a CRDS context, the shared cache, loading; and the CRDS server.

- ``select``: `~select.Crds`, a pinned context, and which files it names for an exposure;
- ``cache``: bringing those files into the one cache, each once and verified; ``download`` brings one;
- ``mappings``: bringing the mappings of a context; the files that they name;
- ``records``: what was verified, remembered, so that no host reads a file twice;
- ``locks``: one download of a file at a time, contexts in use, sweeping up after killed processes;
- ``server``: the few calls of a CRDS server; ``catalog``: what it says of its files;
- ``inventory``: what a cache holds, and what of it no context names any more;
- ``verify``: comparing all that it holds with the checksums that there are;
- ``keywords``: headers as the rules of CRDS see them;
- ``pinned``: making the official steps of a process take their references from there;
- ``load``: reading them.

Importing any of them is cheap; crds, stpipe and asdf are imported where they are needed.
"""

from calservice.references.server import PATIENCE, Patience, Server

__all__ = ["PATIENCE", "Patience", "Server"]
