"""Reference files: selection in a CRDS context, the shared cache, loading; and the CRDS server.

- ``select``: `~select.Crds`, a pinned context, and which files it names for an exposure;
- ``cache``: bringing those files into the one cache, each once and verified;
- ``records``: what was verified, remembered, so that no file is hashed twice;
- ``locks``: one download of a file at a time, and sweeping up after killed ones;
- ``server``: the few calls of a CRDS server;
- ``pinned``: making the official steps of a process take their references from there;
- ``load``: reading them.

Importing any of them is cheap; crds, stpipe and asdf are imported where they are needed.
"""

from calservice.references.server import PATIENCE, Patience, Server

__all__ = ["PATIENCE", "Patience", "Server"]
