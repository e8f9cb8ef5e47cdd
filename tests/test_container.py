"""Dockerfile and devcontainer name what is there: files, extras, pins, targets of make. Neither is built here."""

from __future__ import annotations

import configparser
import fnmatch
import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
DEVCONTAINER = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()


def setup() -> configparser.ConfigParser:
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg")
    return found


def copied() -> list[str]:
    return [name for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]]


def test_both_have_a_python_that_the_package_takes() -> None:
    oldest = setup()["options"]["python_requires"].removeprefix(">=")
    assert re.search(r"^FROM python:([\d.]+)-slim$", DOCKERFILE, re.MULTILINE)[1] == oldest  # type: ignore[index]
    assert DEVCONTAINER["image"] == f"python:{oldest}"


def test_what_is_copied_is_there_and_suffices() -> None:
    assert all((ROOT / name).exists() for name in copied())
    # All that a source distribution needs, and nothing that .dockerignore keeps away.
    named = {"setup.cfg", "pyproject.toml", "MANIFEST.in", "metaft", setup()["metadata"]["license_files"]}
    named |= {setup()["metadata"]["long_description"].removeprefix("file: ")}
    named |= set((ROOT / "MANIFEST.in").read_text().split()[1:])
    assert named <= {*copied()}
    let_in = [line[1:] for line in IGNORED if line.startswith("!")]
    assert IGNORED[0] == "*"
    assert sorted(let_in) == sorted(copied())
    tracked = subprocess.run(["git", "ls-files", "metaft"], cwd=ROOT, capture_output=True, text=True, check=True)
    kept_away = [line for line in IGNORED if line[0] not in "!*" or line.startswith("**")]
    assert not [f for f in tracked.stdout.split() for line in kept_away if fnmatch.fnmatch(f"/{f}/", f"*{line[2:]}/*")]


def test_the_installation_is_pinned_and_its_extras_exist() -> None:
    (line,) = re.findall(r"^RUN pip install (.*)$", DOCKERFILE, re.MULTILINE)
    assert "-c constraints.txt" in line
    extras = re.search(r"'\.\[([\w,]+)\]'", line)[1].split(",")  # type: ignore[index]
    known, pins = setup()["options.extras_require"], (ROOT / "constraints.txt").read_text()
    for extra in extras:
        needed = re.findall(r"^([\w-]+)>=", known[extra], re.MULTILINE)
        assert needed, extra
        assert all(f"\n{name}==" in pins for name in needed), extra
    assert 'ENTRYPOINT ["metaft"]' in DOCKERFILE
    assert "metaft = metaft.cli:main" in setup()["options.entry_points"]["console_scripts"]


def test_the_devcontainer_makes_the_environment_of_the_makefile() -> None:
    words = DEVCONTAINER["postCreateCommand"].split()
    assert words[0] == "make"
    done = subprocess.run(["make", "-n", "-B", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "-c constraints.txt" in done.stdout
    settings = DEVCONTAINER["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"] == f"{words[1].rpartition('/')[0]}/bin/python"
