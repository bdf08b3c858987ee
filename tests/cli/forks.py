"""Runs command lines of ``strun`` and ``calservice``, each in a process forked from this one, which has imported jwst.

Reads lines of JSON, ``{"program": name, "words": [...], "folder": path}``, and answers ``{"status": n}`` to each; what
the program said is in ``said.txt`` of its folder.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import traceback


def run(program: str, words: list[str]) -> None:
    sys.argv = [program, *words]
    if program == "strun":
        from stpipe._cli.strun import main
    else:
        from calservice.cli import main
    main()


def child(program: str, words: list[str], folder: str) -> int:
    os.chdir(folder)
    sys.path.insert(0, folder)
    said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    try:
        run(program, words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:  # noqa: BLE001 - whatever it was, it is what the program ends with
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    for name in ("jwst.pipeline", "jwst.step", "calservice.single", "calservice.cli"):
        importlib.import_module(name)
    importlib.import_module("calservice.run.ready").ready()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = child(asked["program"], asked["words"], asked["folder"])
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)
