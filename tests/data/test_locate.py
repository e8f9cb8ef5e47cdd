import hashlib
import logging
from pathlib import Path

import pytest

from metaft.data import locate
from metaft.errors import MetaftError
from tests.data.drawings import served


def test_roots_in_order(monkeypatch, tmp_path):
    monkeypatch.setenv("METAFT_DATA", str(tmp_path / "env"))
    assert locate.roots(tmp_path / "given") == [tmp_path / "given", tmp_path / "env", Path("data")]
    monkeypatch.delenv("METAFT_DATA")
    assert locate.roots() == [Path("data")]


def test_the_first_root_that_holds_it_wins_and_another_than_asked_is_said(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("METAFT_DATA", str(tmp_path / "env"))
    for folder in ("given", "env"):
        (tmp_path / folder).mkdir()
    (tmp_path / "env" / "here").touch()
    holds = lambda root: root if (root / "here").exists() else None
    with caplog.at_level(logging.WARNING):
        assert locate.find("toy", tmp_path / "given", holds) == tmp_path / "env"
        assert locate.find("toy", tmp_path / "given", holds) == tmp_path / "env"
    assert [record.message for record in caplog.records] == [
        f"no toy under {tmp_path / 'given'}: using the one under {tmp_path / 'env'}"
    ]
    (tmp_path / "given" / "here").touch()
    assert locate.find("toy", tmp_path / "given", holds) == tmp_path / "given"
    assert locate.find("toy", None, lambda root: None) is None


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("METAFT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert locate.cache_dir() == tmp_path / ".cache" / "metaft"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert locate.cache_dir() == tmp_path / "xdg" / "metaft"
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "own"))
    assert locate.cache_dir() == tmp_path / "own"


def test_cache_dir_of_a_user_without_home(monkeypatch):
    monkeypatch.delenv("METAFT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert locate.cache_dir().is_absolute()


@pytest.fixture
def server(tmp_path, monkeypatch):
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "a.zip").write_bytes(b"content")
    with served(tmp_path / "server", monkeypatch) as address:
        yield address


def test_download_puts_whole_files_only(server, tmp_path):
    target = tmp_path / "new" / "folder"
    locate.download(server, {"a.zip": hashlib.md5(b"content").hexdigest()}, target)
    assert [p.name for p in target.iterdir()] == ["a.zip"]
    assert (target / "a.zip").read_bytes() == b"content"


@pytest.mark.parametrize(("name", "md5"), [("a.zip", "0" * 32), ("absent.zip", "0" * 32)])
def test_a_failed_download_leaves_nothing(server, tmp_path, name, md5):
    with pytest.raises(MetaftError, match=name):
        locate.download(server, {name: md5}, tmp_path / "new" / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["server"]


def test_no_download_when_switched_off(server, tmp_path, monkeypatch):
    monkeypatch.setenv("METAFT_OFFLINE", "1")
    with pytest.raises(MetaftError, match="METAFT_OFFLINE"):
        locate.download(server, {"a.zip": hashlib.md5(b"content").hexdigest()}, tmp_path / "new")
    assert not (tmp_path / "new").exists()
