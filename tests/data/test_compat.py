import subprocess
import sys

import pytest

from metaft.data import compat
from metaft.errors import MetaftError


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


def test_a_healthy_import_defines_nothing(monkeypatch):
    monkeypatch.setattr(compat, "_LIBRARIES", [])
    assert compat.torchvision_module("json").dumps([1]) == "[1]"
    assert compat._LIBRARIES == []


def test_other_failures_of_the_import_pass_through(monkeypatch, tmp_path):
    (tmp_path / "breaks_on_import.py").write_text("raise RuntimeError('something else')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeError, match="something else"):
        compat.torchvision_module("breaks_on_import")


def test_absent_learn2learn_is_told_how_to_get(monkeypatch):
    monkeypatch.setitem(sys.modules, "learn2learn", None)
    with pytest.raises(MetaftError, match="'make learn2learn' builds it"):
        compat.learn2learn_module()
