"""`mpcc format` as users meet it: in place, `--check`, several files, standard input, and what is wrong."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.terminal import command, environment, mpcc
from tests.waiting import SECONDS

LOOSE = "model m\nrole  a\n\n\n\ninput x:[2]from a in[0,1]  # a note\noutput y=x+1 to a\n"
TIDY = "model m\nrole a\n\ninput x : [2] from a in [0, 1]  # a note\noutput y = x + 1 to a\n"
WRONG = "model m\nrole a\noutput y = (x to a\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "loose.ppml").write_text(LOOSE)
    (tmp_path / "tidy.ppml").write_text(TIDY)
    (tmp_path / "wrong.ppml").write_text(WRONG)
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_files_are_written_in_place_and_only_those_that_change(folder: Path) -> None:
    (folder / "loose.ppml").chmod(0o640)
    before = (folder / "tidy.ppml").stat()
    done = mpcc(folder, "format", "loose.ppml", "tidy.ppml")
    assert (done.returncode, done.stdout, done.stderr) == (0, "loose.ppml: written\n", "")
    assert (folder / "loose.ppml").read_text() == TIDY
    assert stat.S_IMODE((folder / "loose.ppml").stat().st_mode) == 0o640
    after = (folder / "tidy.ppml").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert names(folder) == {"loose.ppml", "tidy.ppml", "wrong.ppml"}
    assert mpcc(folder, "format", "loose.ppml").stdout == ""


def test_check_names_what_would_change_and_writes_nothing(folder: Path) -> None:
    done = mpcc(folder, "format", "--check", "tidy.ppml", "loose.ppml")
    assert (done.returncode, done.stdout) == (1, "loose.ppml\n")
    assert (folder / "loose.ppml").read_text() == LOOSE
    assert mpcc(folder, "format", "--check", "tidy.ppml").returncode == 0


def test_standard_input_goes_to_standard_output(folder: Path) -> None:
    def piped(text: bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command("format", "-", *options), input=text, capture_output=True, cwd=folder,
                              env=environment(), timeout=SECONDS, check=False)  # fmt: skip

    assert piped(LOOSE.encode()).stdout == TIDY.encode()
    assert piped(LOOSE.replace("\n", "\r\n").encode()).stdout == TIDY.replace("\n", "\r\n").encode()
    assert piped(LOOSE.encode(), "--check").returncode == 1
    wrong = piped(WRONG.encode())
    assert wrong.returncode == 1 and wrong.stdout == b"" and wrong.stderr.startswith(b"<stdin>:3:12: error:")
    assert mpcc(folder, "format", "-", "tidy.ppml").returncode == 2


def test_a_syntax_error_is_shown_as_check_shows_it_and_nothing_is_written(folder: Path) -> None:
    done = mpcc(folder, "format", "loose.ppml", "wrong.ppml", "none.ppml")
    assert done.returncode == 1 and done.stdout == ""
    assert mpcc(folder, "check", "wrong.ppml").stderr in done.stderr
    assert "error: none.ppml: cannot be read: No such file or directory" in done.stderr
    assert (folder / "loose.ppml").read_text() == LOOSE and (folder / "wrong.ppml").read_text() == WRONG


def test_what_is_no_source(folder: Path) -> None:
    (folder / "latin.ppml").write_bytes("model m # é".encode("latin-1"))
    assert mpcc(folder, "compile", "tidy.ppml").returncode == 0
    done = mpcc(folder, "format", "latin.ppml", "tidy.plan")
    assert done.returncode == 1
    assert "error: latin.ppml: expected UTF-8 text, found the byte 0xe9" in done.stderr
    assert "error: tidy.plan: this is a compiled plan; name the .ppml" in done.stderr
    assert mpcc(folder, "format").returncode == 2


def test_a_link_stays_one(folder: Path) -> None:
    (folder / "link.ppml").symlink_to("loose.ppml")
    assert mpcc(folder, "format", "link.ppml").returncode == 0
    assert (folder / "link.ppml").is_symlink() and (folder / "loose.ppml").read_text() == TIDY


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_to(folder: Path) -> None:
    folder.chmod(0o500)
    try:
        done = mpcc(folder, "format", "loose.ppml")
    finally:
        folder.chmod(0o700)
    assert done.returncode == 1 and "error: loose.ppml: cannot be written: Permission denied" in done.stderr
