"""cluster.toml and key files: what is written can be read, and every mistake is named with its place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mpc_runtime.deployment.cluster import load_cluster, write_cluster, write_public
from mpc_runtime.deployment.keys import ignore_key, key_path, load_key, save_key
from mpc_runtime.errors import InputError
from mpc_runtime.servers.members import PROVIDE, RECEIVE, SUBMIT, Member
from mpc_runtime.transport.identity import KeyPair, fingerprint


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
    assert config.members == {cluster.roles[r][0]: Member(r) for r in cluster.roles}
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
    files = write_cluster(tmp_path / "cluster.toml", ["client"], 7300)
    assert ignored.read_text() == after
    assert (ignored in files) == (before != after)
    assert ignore_key(tmp_path / "bob.key") == []
    assert ignored.read_text() == after


def test_git_agrees(tmp_path: Path) -> None:
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    subprocess.run([git, "init", "-q"], cwd=tmp_path, check=True)
    write_cluster(tmp_path / "cluster.toml", ["client", "hospital[0]"], 7300)
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
        write_cluster(written, ["client"], 7300)
    with pytest.raises(InputError, match="cannot be written"):
        save_key(key_path(written, "p0"), KeyPair.generate())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("127.0.0.1:7301", "nowhere", r"cluster.toml:9: expected an address such as p0.example.org:7100"),
        ("127.0.0.1:7301", "127.0.0.1:*", r"cluster.toml:9: expected a port"),
        ("127.0.0.1:7301", "127.0.0.1:99999", r"cluster.toml:9: expected a port from 1 to 65535"),
        ("127.0.0.1:7301", "300.0.0.1:7301", r"cluster.toml:9: expected an address such as"),
        ("127.0.0.1:7301", "::1:7301", r"cluster.toml:9: expected HOST:PORT, with brackets around an IPv6"),
        ("127.0.0.1:7301", "[::g]:7301", r"cluster.toml:9: expected an IPv6 address in the brackets"),
        ("127.0.0.1:7301", "0.0.0.0:7301", r"cluster.toml:9: nobody can be reached at 0.0.0.0:7301: .* under listen$"),
        ("127.0.0.1:7304", "[::]:7304", r"cluster.toml:10: nobody can be reached at .* under listen_clients$"),
        ("127.0.0.1:7304", "127.0.0.1:7301", r"cluster.toml:10: 127.0.0.1:7301 is the address in .*:9 too"),
        (
            "[p1]",
            '[p1]\nlisten = "[::]:7304"\nlisten_clients = "[::]:7304"',
            r"cluster.toml:10: .* address in .*:9 too",
        ),
        ('clients = "127.0.0.1:7303"', "", r"cluster.toml:3: \[p0\]: expected clients = \"…\", the port"),
        ("[dealer]", '[dealer]\nclients = "127.0.0.1:7310"', r":14: \[dealer\] has 'clients'; expected address, key"),
        ("[roles]", "[roles]\ndealer = []", r"cluster.toml:18: \[roles\] dealer: this is the name of a server"),
        ("[dealer]", "[daeler]", r"cluster.toml:13: unknown table \[daeler\](.|\n)*expected a table \[dealer\]"),
        ("[roles]", "[roles]\nx = 3", r"cluster.toml:18: \[roles\] x: expected a list of public keys"),
        ("[roles]", '[roles]\nx = [\n"short"]', r"cluster.toml:19: \[roles\] x: expected a public key of 40"),
        ("address =", "port =", r"cluster.toml:4: \[p0\] has 'port'; expected address, clients, key"),
        ("[p0]", "[p0", r"cluster.toml: "),
    ],
)
def test_mistakes_are_named(written: Path, old: str, new: str, message: str) -> None:
    written.write_text(written.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        load_cluster(written)


def test_all_mistakes_are_named_at_once(written: Path) -> None:
    text = written.read_text().replace("127.0.0.1:7301", "nowhere").replace("127.0.0.1:7302", "nowhere too")
    written.write_text(text.replace("[roles]", "[roles]\nx = 3"))
    with pytest.raises(InputError) as raised:
        load_cluster(written)
    assert [line.split(": ")[0].rpartition(":")[2] for line in str(raised.value).splitlines()] == ["9", "14", "18"]


def test_where_others_reach_a_server_and_where_it_listens(written: Path) -> None:
    text = (
        written.read_text()
        .replace("127.0.0.1:7301", "p1.example.org:7301")
        .replace("127.0.0.1:7304", "[2001:db8::1]:9")
    )
    written.write_text(text.replace("[p1]", '[p1]\nlisten = "0.0.0.0:7301"\nlisten_clients = "[::]:9000"'))
    cluster = load_cluster(written)
    assert (cluster.addresses["p1"], cluster.addresses["p1.clients"]) == ("p1.example.org:7301", "[2001:db8::1]:9")
    config = cluster.machine("p1", load_key(key_path(written, "p1")), 60, 1, 5)
    assert (config.address, config.origin) == ("0.0.0.0:7301", f"{written}:9")
    assert (config.clients, config.clients_origin) == ("[::]:9000", f"{written}:10")
    assert config.origins["p0"] == f"{written}:4"
    assert cluster.machine("p0", load_key(key_path(written, "p0")), 60, 1, 5).address == "127.0.0.1:7300"


LONG = """
[[roles.ward]]
key = "{key}"
may = ["submit", "receive"]
name = "ward 3"
queries_per_minute = 60
queries = 1000

[[roles.ward]]
key = "{other}"
"""


def test_the_long_form_says_what_a_key_may_do(written: Path) -> None:
    key, other = KeyPair.generate().public, KeyPair.generate().public
    written.write_text(written.read_text() + LONG.format(key=key, other=other))
    cluster = load_cluster(written)
    assert cluster.roles["ward"] == (key, other)
    assert cluster.members[key] == Member("ward", frozenset({SUBMIT, RECEIVE}), "ward 3", 60, 1000)
    assert cluster.members[other] == Member("ward", frozenset({PROVIDE, SUBMIT, RECEIVE}))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"submit", ', '"sumbit", ', r":\d+: may: expected a list of 'provide', 'submit', 'receive', 'deploy', found"),
        ("may = [", "may = [[], ", r":\d+: may: expected a list"),
        ('"ward 3"', '"a\\nb"', r":\d+: name: expected a text of at most 64 characters"),
        ("= 60", "= 0", r":\d+: queries_per_minute: expected a whole number above 0, found 0"),
        ("= 60", "= true", r":\d+: queries_per_minute: expected a whole number above 0, found True"),
        ("= 1000", '= "many"', r":\d+: queries: expected a whole number above 0, found 'many'"),
        ("name =", "nmae =", r":\d+: \[roles.ward.0\] has 'nmae'; expected key, may, name"),
        ("key =", "kee =", r'\[roles.ward.0\]: expected key = "…"'),
    ],
)
def test_mistakes_in_the_long_form_are_named_with_their_line(written: Path, old: str, new: str, message: str) -> None:
    long = LONG.format(key=KeyPair.generate().public, other=KeyPair.generate().public).replace(old, new, 1)
    written.write_text(written.read_text() + long)
    line = next((i for i, text in enumerate(written.read_text().splitlines(), 1) if new in text), 0)
    with pytest.raises(InputError, match=message) as raised:
        load_cluster(written)
    assert f"cluster.toml:{line}: " in str(raised.value)


def test_a_file_made_of_public_keys(tmp_path: Path) -> None:
    keys = [KeyPair.generate().public for _ in range(5)]
    path = tmp_path / "cluster.toml"
    servers = {"p0": ("p0.example.org:7100", keys[0]), "p1": ("[2001:db8::7]:7100", keys[1])}
    prints = write_public(
        path, {**servers, "dealer": ("192.0.2.7:7100", keys[2])}, {"client": keys[3:], "hospital[0]": []}
    )
    assert prints["client"] == [fingerprint(key) for key in keys[3:]] and prints["hospital[0]"] == []
    cluster = load_cluster(path)
    assert cluster.roles == {"client": tuple(keys[3:]), "hospital[0]": ()}
    assert dict(cluster.addresses) == {
        "p0": "p0.example.org:7100",
        "p0.clients": "p0.example.org:7103",
        "p1": "[2001:db8::7]:7100",
        "p1.clients": "[2001:db8::7]:7103",
        "dealer": "192.0.2.7:7100",
    }
    assert [file.name for file in tmp_path.iterdir()] == ["cluster.toml"]
    servers["dealer"] = "nowhere", keys[2]
    with pytest.raises(InputError, match="the address of dealer: expected an address"):
        write_public(tmp_path / "other.toml", servers, {})
    servers["dealer"] = "192.0.2.7:7100", keys[1]
    with pytest.raises(InputError, match="dealer and p1 have the same key"):
        write_public(tmp_path / "other.toml", servers, {})
    assert not (tmp_path / "other.toml").exists()


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
