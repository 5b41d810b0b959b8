"""Users without a home directory, or with one that cannot be written, get defaults, and no files of other users."""

import os
import subprocess
import sys
from pathlib import Path

import mido
import pytest

from specdiffd.base import folders
from specdiffd.base.config import user_config

NOWHERE = "/proc/nothing"  # not even root can create a folder there
# A user who is in no list of users. Without HOME there is no home directory then.
UNKNOWN_USER = """
import pwd, sys

def missing(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = missing
sys.argv = ["specdiffd", *sys.argv[1:]]
from specdiffd import cli

cli.main()
"""


@pytest.fixture
def song(tmp_path: Path) -> Path:
    file = mido.MidiFile()
    file.tracks.append(mido.MidiTrack([mido.Message("note_on", note=60), mido.Message("note_off", note=60, time=100)]))
    file.save(tmp_path / "song.mid")
    return tmp_path / "song.mid"


@pytest.mark.parametrize("home", [None, NOWHERE])
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("tokens SONG", 0, "pitch 60"),
        ("render SONG -m ~/mine", 3, "no directory"),
        ("instruments list", 0, "builtin"),
        ("ctl ping --timeout 0.1", 1, "is specdiffd running?"),
        ("run --fake -o audio.device=nosuch -o midi.api=none", 3, "no audio device 'nosuch'"),
        ("run --fake -o audio.device=wav:~/nothing/x.wav -o midi.api=none", 3, "cannot write"),
    ],
)
def test_commands_of_a_user_without_a_home(words: str, code: int, says: str, home: str | None, song: Path, tmp_path: Path) -> None:
    temporary, here = tmp_path / "tmp", tmp_path / "here"
    temporary.mkdir()
    here.mkdir()
    places = {"SONG": str(song)}
    command = [sys.executable, "-c", UNKNOWN_USER, *(places.get(word, word) for word in words.split())]
    environment = {"TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path), **({} if home is None else {"HOME": home})}
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    assert says in done.stdout + done.stderr
    assert not list(here.iterdir())  # for example, no folder called "~"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files; there is no runtime folder of a session."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_the_private_folder_is_the_users_alone(temporary: Path) -> None:
    folder = folders.private_folder()
    assert folder is not None
    assert folder.parent == temporary
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folders.private_folder() == folder


def test_the_sessions_folder_comes_first(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = temporary / "session"
    session.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    assert folders.private_folder() == session / "specdiffd"
    for wrong in (NOWHERE, "session"):  # for example, another user's
        monkeypatch.setenv("XDG_RUNTIME_DIR", wrong)
        found = folders.private_folder()
        assert found is not None
        assert found.parent == temporary


@pytest.mark.parametrize("trap", ["open to others", "a link", "a file", "another user's"])
def test_a_folder_that_others_could_have_prepared_is_not_used(trap: str, temporary: Path) -> None:
    folder = temporary / f"specdiffd-{os.geteuid()}"
    if trap == "a link":
        (temporary / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(temporary / "elsewhere")
    elif trap == "a file":
        folder.touch()
    else:
        folder.mkdir(mode=0o700)
        if trap == "open to others":
            folder.chmod(0o750)
        elif os.geteuid() == 0:
            os.chown(folder, 12345, 12345)
        else:
            pytest.skip("needs root")
    assert folders.private_folder() is None


def test_libraries_get_the_variables_that_they_need(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that monkeypatch restores it
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", NOWHERE)
    folders.settle_environment()
    assert os.environ["PATH"] == os.defpath
    assert os.environ["HOME"] == NOWHERE
    assert Path(os.environ["NUMBA_CACHE_DIR"]).parent == folders.private_folder()


def test_an_environment_in_order_stays_as_it_is(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(temporary))
    before = dict(os.environ)
    folders.settle_environment()
    assert dict(os.environ) == before


def test_a_configuration_that_cannot_be_reached_is_none(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(temporary))
    assert user_config() is None
    (temporary / "specdiffd").mkdir()
    (temporary / "specdiffd" / "config.yaml").touch()
    assert user_config() == temporary / "specdiffd" / "config.yaml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(temporary / "specdiffd" / "config.yaml"))  # not a folder
    assert user_config() is None
