"""The package as a file: it is built, installed into an environment of its own, and runs there from anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

import metaft
from metaft.configs import NAMES

ROOT = Path(__file__).parents[1]


def run(*words: object, cwd: Path) -> str:
    """Without the checkout on Python's path."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(w) for w in words], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution, and a wheel that was built from it alone."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listed = subprocess.run(
        ["git", "ls-files", "metaft", "setup.cfg", "pyproject.toml", "MANIFEST.in", "*.md", "LICENSE", "CITATION.cff"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for name in [*listed, "constraints.txt"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, out, cwd=source)
    (archive,) = out.glob("*.tar.gz")
    words = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-w", out, archive]
    run(sys.executable, "-m", "pip", "wheel", *words, cwd=source)
    return out


@pytest.mark.long
def test_what_is_in_it(built: Path) -> None:
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"metaft/configs/{name}.toml" for name in NAMES} <= {*names}
    assert {"metaft/py.typed", "metaft/data/lists/omniglot.txt", "metaft/outer/kernels/blocks.h"} <= {*names}
    sums = (ROOT / "metaft/zoo/SHA256SUMS").read_text().split()
    assert {"metaft/zoo/SHA256SUMS", *(f"metaft/zoo/{file}" for file in sums[1::2])} <= {*names}
    assert not [name for name in names if name.startswith(("tests", "experiments", "benchmarks"))]
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff"} <= inside


@pytest.mark.long
def test_installed_it_runs_without_the_checkout(built: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env/bin/python"
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    # What it stands on is seen where it lies; its own copy comes first.
    (Path(own) / "seen.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = built.glob("*.whl")
    quiet = ["--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *quiet, wheel, cwd=tmp_path)
    command = tmp_path / "env/bin/metaft"
    assert metaft.__version__ in run(command, "--version", cwd=tmp_path)
    assert own in run(python, "-c", "import metaft; print(metaft.__file__)", cwd=tmp_path)
    quick = ["--iterations", "2", "--engine", "eager", "--tasks", "2", "--validate-tasks", "2"]
    assert "metaft evaluate" in run(command, "meta-train", "--config", "sinusoid", *quick, "--out", "run", cwd=tmp_path)
    assert (tmp_path / "run/config.toml").exists()


def test_the_torch_that_is_there_fits() -> None:
    """A requirement that it did not meet would have pip replace it."""
    lines = (ROOT / "setup.cfg").read_text().partition("install_requires =")[2].partition("[")[0].splitlines()
    needed = {r.name: r for r in (Requirement(line) for line in map(str.strip, lines) if line and line[0] != "#")}
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert needed["torch"].specifier.contains(torch.__version__)
    assert all(requirement.specifier.contains(pinned[name]) for name, requirement in needed.items())
