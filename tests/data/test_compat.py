import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from metaft.cli import cli
from metaft.data import compat
from metaft.errors import MetaftError

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def test_a_fresh_interpreter_imports_and_uses_torchvision():
    code = (
        "import torch\n"
        "from metaft.data.compat import torchvision_module\n"
        "f = torchvision_module('torchvision.transforms.functional')\n"
        "assert torchvision_module() is torchvision_module('torchvision')\n"
        "print(tuple(f.resize(torch.ones(1, 8, 8), [4, 4]).shape))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 4, 4)", done.stderr


def fresh(code, folder):
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_plain_import_works_after_metaft_and_in_a_users_module(tmp_path):
    (tmp_path / "vision_net.py").write_text(
        "import torchvision, torch\n"
        "def net(outputs, input_shape): return torchvision.models.squeezenet1_1(num_classes=outputs)\n"
    )
    code = (
        "import sys, metaft\n"
        "assert not {'torch', 'torchvision', 'numpy'} & set(sys.modules)\n"
        "model = metaft.models.build('vision_net:net', outputs=3, input_shape=(3, 64, 64), seed=0)\n"
        "import torch, torchvision\n"
        "print(tuple(model(torch.zeros(1, 3, 64, 64)).shape))"
    )
    assert fresh(code, tmp_path) == ["(1,", "3)"]


def test_after_an_import_that_failed_before_metaft_was_there(tmp_path):
    code = (
        "try: import torchvision\n"
        "except RuntimeError: pass\n"
        "import metaft, torchvision\n"
        "print(torchvision.transforms.Resize(4).size)"
    )
    assert fresh(code, tmp_path) == ["4"]


def test_operators_that_are_there_are_left_alone(tmp_path):
    """Where torchvision's own extension is loaded, it has defined them before they are asked for."""
    code = (
        "import metaft, metaft.torchvision_import as ours, torch\n"
        "theirs = torch.library.Library('torchvision', 'DEF')\n"
        "for schema in ours.SCHEMAS.values(): theirs.define(schema)\n"
        "import torchvision\n"
        "print(len(ours._libraries), torchvision.models.squeezenet1_1().num_classes)"
    )
    assert fresh(code, tmp_path) == ["0", "1000"]


def test_the_command_line_loads_a_users_module_that_imports_it(tmp_path, monkeypatch):
    (tmp_path / "own_vision.py").write_text(
        "import torch, torchvision\n"
        "class Net(torch.nn.Sequential):\n"
        "    def __init__(self, outputs, input_shape):\n"
        "        super().__init__(torch.nn.Flatten(), torchvision.ops.MLP(784, [8, outputs]))\n"
    )
    monkeypatch.chdir(tmp_path)
    words = "meta-train --model own_vision:Net --engine eager --iterations 1 --tasks 1 --validate-tasks 2 --queries 1"
    done = CliRunner().invoke(cli, [*words.split(), "--out", "run", "--quiet"])
    assert done.exit_code == 0, done.output


def test_other_failures_of_the_import_pass_through(monkeypatch, tmp_path):
    (tmp_path / "breaks_on_import.py").write_text("raise RuntimeError('something else')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeError, match="something else"):
        compat.torchvision_module("breaks_on_import")


def test_absent_learn2learn_is_told_how_to_get(monkeypatch):
    monkeypatch.setitem(sys.modules, "learn2learn", None)
    with pytest.raises(MetaftError, match="'make learn2learn' builds it"):
        compat.learn2learn_module()


def test_the_environment_of_the_readme_needs_no_import_of_metaft(tmp_path):
    """`make` leaves a line that every Python of its environment runs first; it must cost nothing, and do no harm."""
    makefile = (Path(ENVIRONMENT["PYTHONPATH"]) / "Makefile").read_text()
    line = makefile.partition("AT_START := ")[2].partition("\n")[0].replace('\\"', '"')
    (tmp_path / "metaft_torchvision.pth").write_text(f"{line}\n")
    code = (
        "import site, sys\n"
        f"site.addsitedir({str(tmp_path)!r})\n"
        "print('metaft.torchvision_import' in sys.modules, 'torch' in sys.modules)"
    )
    assert fresh(code, tmp_path) == ["True", "False"]
    away = [sys.executable, "-S", "-c", f"{line}\nprint('fine')"]
    done = subprocess.run(away, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True)
    assert done.stdout == "fine\n", done.stderr
