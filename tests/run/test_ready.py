"""What the warm process keeps of what libraries look up is what they would find."""

import os
import subprocess
import sys
from pathlib import Path

_SETTINGS = """
from astropy.io import fits
from calservice.run import ready

before = {name: getattr(fits.conf, name) for name in fits.conf}
ready._keep_settings()
assert {name: getattr(fits.conf, name) for name in fits.conf} == before
with fits.conf.set_temp("use_memmap", not before["use_memmap"]):
    assert fits.conf.use_memmap != before["use_memmap"]
assert fits.conf.use_memmap == before["use_memmap"]
fits.conf.lazy_load_hdus = not before["lazy_load_hdus"]
assert fits.conf.lazy_load_hdus != before["lazy_load_hdus"]
fits.conf.reload("lazy_load_hdus")
assert fits.conf.lazy_load_hdus == before["lazy_load_hdus"]
"""


def test_settings_that_are_kept_follow_changes() -> None:
    subprocess.run([sys.executable, "-c", _SETTINGS], check=True, timeout=60)


_EXTENSIONS = """
import asdf, yaml
from calservice.run import ready

slow = yaml.SafeLoader
ready.load_extensions()
assert yaml.SafeLoader is slow
files = asdf.get_config().resource_manager
manifests = [uri for uri in files if "/manifests/" in uri]
assert len(manifests) > 20
for uri in manifests:
    assert yaml.load(files[uri], yaml.CSafeLoader) == yaml.load(files[uri], slow), uri
"""


def test_extensions_are_read_as_by_the_slow_parser() -> None:
    subprocess.run([sys.executable, "-c", _EXTENSIONS], check=True, timeout=60)


_KERNELS = """
import subprocess, sys
import numpy as np
from calservice.run import ready
from calservice.steps.stage1._stored_kernels import turn_unsigned

assert ready.load_kernels() == 0
compile_one = '''
import numpy as np
from calservice.steps.stage1._stored_kernels import turn_unsigned
turn_unsigned(np.zeros((1, 2, 3), np.uint16), np.zeros((1, 2, 3), np.float32))
'''
subprocess.run([sys.executable, "-c", compile_one], check=True)
assert not turn_unsigned.overloads
assert ready.load_kernels() == 1
assert len(turn_unsigned.overloads) == 1 and sum(turn_unsigned.stats.cache_hits.values()) == 1
assert ready.load_kernels() == 0
"""


def test_kernels_compiled_meanwhile_are_loaded(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", _KERNELS], check=True, timeout=120, env=environment)
