"""cluster.toml and key files: what is written can be read, and every mistake is named with its place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mpc_runtime.deployment.cluster import ignore_key, key_path, load_cluster, load_key, save_key, write_cluster
from mpc_runtime.errors import InputError
from mpc_runtime.transport.identity import KeyPair


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.toml"
    write_cluster(path, ["client", "hospital[0]"], 7300)
    return path


def test_what_is_written_can_be_read(written: Path) -> None:
    cluster = load_cluster(written)
    assert dict(cluster.addresses) == {
        "p0": "127.0.0.1:7300",
        "p0.clients": "127.0.0.1:7303",
        "p1": "127.0.0.1:7301",
        "p1.clients": "127.0.0.1:7304",
        "dealer": "127.0.0.1:7302",
    }
    for name in ("p0", "p1", "dealer"):
        assert load_key(key_path(written, name)).public == cluster.server_keys[name]
    for role in ("client", "hospital[0]"):
        assert (load_key(key_path(written, role)).public,) == cluster.roles[role]
    config = cluster.machine("p1", load_key(key_path(written, "p1")), 60, 1, 5)
    assert config.roles == {cluster.roles[r][0]: r for r in cluster.roles}
    assert (config.origin, config.clients_origin) == (f"{written}:9", f"{written}:10")
    assert (config.address, config.clients) == ("127.0.0.1:7301", "127.0.0.1:7304")
    assert (config.timeout, config.window, config.wait) == (60, 1, 5)
    dealer = cluster.machine("dealer", load_key(key_path(written, "dealer")), 60, 1, 5)
    assert (dealer.address, dealer.clients) == ("127.0.0.1:7302", "")


def test_keys_and_files_of_an_earlier_version_are_told_apart(written: Path) -> None:
    file = key_path(written, "p0")
    file.write_text(file.read_text().replace("Ed25519", "CURVE"))
    with pytest.raises(InputError, match=r"p0.key: is a key of version 0.1; make another with `mpcc keygen`"):
        load_key(file)
    written.write_text(written.read_text().replace("[p1]\n", '[p1]\nstream = "127.0.0.1:7400"\n'))
    with pytest.raises(InputError, match=r"\[p1\] has 'stream'; expected address, clients, key"):
        load_cluster(written)


def test_secret_keys_are_private_and_not_in_the_toml(written: Path) -> None:
    file = key_path(written, "p0")
    assert file.stat().st_mode & 0o077 == 0
    assert load_key(file).secret not in written.read_text()
    assert load_key(file).secret not in repr(load_key(file))
    file.chmod(0o644)
    with pytest.raises(InputError, match="others may read this secret key"):
        load_key(file)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "# secret keys\n*.key\n"),
        ("build/\n", "build/\n# secret keys\n*.key\n"),
        ("build/", "build/\n# secret keys\n*.key\n"),
        ("*.key\nbuild/", "*.key\nbuild/"),
        ("# *.key\n!*.key.pub\n", "# *.key\n!*.key.pub\n# secret keys\n*.key\n"),
    ],
)
def test_git_ignores_the_keys(tmp_path: Path, before: str | None, after: str) -> None:
    ignored = tmp_path / ".gitignore"
    if before is not None:
        ignored.write_text(before)
    files = write_cluster(tmp_path / "cluster.toml", ["client"])
    assert ignored.read_text() == after
    assert (ignored in files) == (before != after)
    assert ignore_key(tmp_path / "bob.key") == []
    assert ignored.read_text() == after


def test_git_agrees(tmp_path: Path) -> None:
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    subprocess.run([git, "init", "-q"], cwd=tmp_path, check=True)
    write_cluster(tmp_path / "cluster.toml", ["client", "hospital[0]"])
    for name in ("bob", "#1.pem", "a[b]*.txt"):
        save_key(tmp_path / name, KeyPair.generate())
        assert ignore_key(tmp_path / name) == [tmp_path / ".gitignore"]
        assert ignore_key(tmp_path / name) == []
    seen = subprocess.run(
        [git, "status", "--porcelain", "-uall"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert sorted(line[3:] for line in seen.stdout.splitlines()) == [".gitignore", "cluster.toml"]


def test_nothing_is_overwritten(written: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        write_cluster(written, ["client"])
    with pytest.raises(InputError, match="cannot be written"):
        save_key(key_path(written, "p0"), KeyPair.generate())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("127.0.0.1:7301", "10.0.0.7:7301", r"cluster.toml:9: 10.0.0.7:7301 is not on this machine"),
        ("127.0.0.1:7301", "nowhere", r"cluster.toml:9: expected an address such as"),
        ("127.0.0.1:7301", "127.0.0.1:*", r"cluster.toml:9: expected an address such as"),
        ("127.0.0.1:7301", "127.0.0.1:99999", r"cluster.toml:9: expected an address such as"),
        ("127.0.0.1:7304", "10.0.0.7:7304", r"cluster.toml:10: 10.0.0.7:7304 is not on this machine"),
        ("127.0.0.1:7304", "127.0.0.1:7301", r"cluster.toml:10: 127.0.0.1:7301 is the address in .*:9 too"),
        ('clients = "127.0.0.1:7303"', "", r'\[p0\]: expected clients = "…", the port'),
        ("[dealer]", '[dealer]\nclients = "127.0.0.1:7310"', r"\[dealer\] has 'clients'; expected address, key"),
        ("[roles]", "[roles]\ndealer = []", r"\[roles\] dealer: this is the name of a server"),
        ("[dealer]", "[daeler]", r"unknown table \[daeler\]"),
        ("[roles]", "[roles]\nx = 3", r"\[roles\] x: expected a list of public keys"),
        ("address =", "port =", r"\[p0\] has 'port'; expected address, clients, key"),
        ("[p0]", "[p0", r"cluster.toml: "),
    ],
)
def test_mistakes_are_named(written: Path, old: str, new: str, message: str) -> None:
    written.write_text(written.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        load_cluster(written)


def test_a_key_is_one_name_only(written: Path) -> None:
    cluster = load_cluster(written)
    written.write_text(written.read_text().replace(cluster.server_keys["p1"], cluster.server_keys["p0"]))
    with pytest.raises(InputError, match="p1 and p0 have the same key"):
        load_cluster(written)


def test_a_key_that_the_file_does_not_list(written: Path) -> None:
    with pytest.raises(InputError, match="the key for client has the public half"):
        load_cluster(written).check_key("client", KeyPair.generate())
    with pytest.raises(InputError, match="no role 'nobody'"):
        load_cluster(written).check_key("nobody", KeyPair.generate())


def test_a_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mpcc init-cluster"):
        load_cluster(tmp_path / "none.toml")
    with pytest.raises(InputError, match="mpcc keygen"):
        load_key(tmp_path / "none.key")
