"""What the warm process keeps of what libraries look up is what they would find."""

import subprocess
import sys

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
