"""Build learn2learn for this Python and install it: ``python -m benchmarks.learn2learn_wheel``.

The C code in its source distribution is Cython 0.29's, which Python ≥ 3.11 cannot compile (learn2learn#413, #417), so
it is generated anew from the ``.pyx`` files beside it. Its requirements ``qpth`` and ``gsutil`` are left out: its
algorithms and task sets do not need them.
"""

from __future__ import annotations

import configparser
import contextlib
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from benchmarks.peers import pip

PIN = next(line for line in pip.CONSTRAINTS[1].read_text().splitlines() if line.startswith("learn2learn=="))
WORKS = "import sys; from metaft.data.compat import learn2learn_module as m; sys.exit(m().__version__ != '{}')"


def install(python: Path) -> None:
    """Build and install the pinned version, unless it is there already.

    Args:
        python: the interpreter of an environment that has torch and metaft.

    Raises:
        pip.Failed: with the reason in one line.
    """
    with contextlib.suppress(pip.Failed):
        return check(python)
    pip.install(python, "setuptools", *needs())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = ("--no-deps", "--no-binary", ":all:", "--no-build-isolation", "-d", name)
        pip.run(str(python), *pip.PIP, "download", *pip.QUIET, *source, PIN)
        with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
        here = next(path for path in folder.iterdir() if path.is_dir())
        shutil.rmtree(here / "tests")  # or they would be installed as a package of that name
        pip.run(str(python), "setup.py", "-q", "build_ext", "bdist_wheel", "-d", name, cwd=here)
        pip.run(str(python), *pip.PIP, "install", *pip.QUIET, "--no-deps", *map(str, folder.glob("*.whl")))
    check(python)


def needs() -> list[str]:
    """What building and importing it takes: the extra "learn2learn" of setup.cfg."""
    settings = configparser.ConfigParser()
    settings.read(pip.ROOT / "setup.cfg", encoding="utf-8")
    return settings["options.extras_require"]["learn2learn"].split()


def check(python: Path) -> None:
    """See that an environment has the pinned version and can import it.

    Args:
        python: its interpreter.

    Raises:
        pip.Failed: if not.
    """
    pip.run(str(python), "-c", WORKS.format(PIN.partition("==")[2]))


if __name__ == "__main__":
    try:
        install(Path(sys.executable))
    except pip.Failed as error:
        sys.exit(f"learn2learn was not installed: {error}")
