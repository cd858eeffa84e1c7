"""`cluster.toml`: where the servers of a deployment are, and whose public keys may connect. Secret keys are files of
their own.

    [p0]                                    # and [p1]; [dealer], which has no clients
    address = "127.0.0.1:7100"              # for the other servers
    clients = "127.0.0.1:7103"              # for the machines of the roles
    key = "…"                               # public key, 40 characters
    metrics = "127.0.0.1:9100"              # if it is to show /metrics and /health (`operation/endpoint.py`)

    [roles]
    client = ["…", "…"]                     # one key per machine that may speak for the role

A key file holds one secret key and is readable by its owner only. Keys that are not named (`--key`) are
looked for beside the cluster.toml: `p0.key`, `client.key`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..servers.process import SERVERS, MachineConfig
from ..transport.address import check_loopback, clients_of
from ..transport.identity import KeyPair, check_public

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

__all__ = ["Cluster", "ignore_key", "key_path", "load_cluster", "load_key", "save_key", "write_cluster"]

KEY_SUFFIX = ".key"
FIRST_PORT = 7100
IGNORE_HEADING = "# secret keys"
KEY_HEADING = "# secret Ed25519 key; keep it on its machine"
OLD_HEADING = "# secret CURVE key"  # version 0.1
PARTIES = SERVERS[:2]
METRICS = "metrics"


@dataclass(frozen=True)
class Cluster:
    """What a cluster.toml says: addresses and public keys of the servers, public keys of the roles.

    addresses: for servers under a server's name, a party's for clients under that of `clients_of`. origins: where each
    is written ("cluster.toml:4").
    """

    path: Path
    addresses: Mapping[str, str]
    origins: Mapping[str, str]
    server_keys: Mapping[str, str]
    roles: Mapping[str, tuple[str, ...]]
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Where servers show their metrics, those that do."""

    def machine(self, name: str, keys: KeyPair, timeout: float, window: int, wait: float) -> MachineConfig:
        """The configuration of one of its servers; InputError when the key is not the one in the file."""
        self.check_key(name, keys)
        allowed = {key: role for role, keys_ in self.roles.items() for key in keys_}
        return MachineConfig(
            name,
            keys,
            self.addresses[name],
            self.server_keys,
            allowed,
            timeout,
            window,
            wait,
            clients=self.addresses.get(clients_of(name), ""),
            origin=self.origins[name],
            clients_origin=self.origins.get(clients_of(name), ""),
        )

    def check_key(self, name: str, keys: KeyPair) -> None:
        """InputError unless this key pair belongs to the server or role in the file."""
        if name in SERVERS:
            known: Sequence[str] = (self.server_keys[name],)
        elif name in self.roles:
            known = self.roles[name]
        else:
            raise InputError(f"{self.path}: no role {name!r}; it has {', '.join(self.roles) or 'none'}")
        if keys.public not in known:
            raise InputError(
                f"{self.path}: the key for {name} has the public half {keys.public}, which the file does not list; "
                f"add it to {f'[{name}] key' if name in SERVERS else f'[roles] {name}'}, or use --key"
            )


def load_cluster(path: str | Path) -> Cluster:
    """Reads and checks a cluster.toml; InputError names the file, the entry and what was expected."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; `mpcc init-cluster` writes one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from None
    if unknown := sorted(data.keys() - {*SERVERS, "roles"}):
        raise InputError(f"{path}: unknown table [{unknown[0]}]; expected [p0], [p1], [dealer] and [roles]")
    addresses, keys, origins, metrics = {}, {}, {}, {}
    for name in SERVERS:
        table = _table(path, data, name)
        entries = ("address", "clients", "key") if name in PARTIES else ("address", "key")
        if unknown := sorted(table.keys() - {*entries, METRICS}):
            raise InputError(f"{path}: [{name}] has {unknown[0]!r}; expected {', '.join((*entries, METRICS))}")
        if METRICS in table:
            metrics[name] = _text(path, table, name, METRICS)
        for entry, place in (("address", name), ("clients", clients_of(name)))[: len(entries) - 1]:
            origins[place] = f"{path}:{_line(text, name, entry)}"
            addresses[place] = check_loopback(_text(path, table, name, entry), origins[place])
        keys[name] = _public_key(path, _text(path, table, name, "key"), f"[{name}] key")
    roles = {}
    for role, listed in _table(path, data, "roles").items():
        if role in SERVERS:
            raise InputError(f"{path}: [roles] {role}: this is the name of a server")
        if not isinstance(listed, list) or not all(isinstance(key, str) for key in listed):
            raise InputError(f'{path}: [roles] {role}: expected a list of public keys, ["…"]')
        roles[role] = tuple(_public_key(path, key, f"[roles] {role}") for key in listed)
    _refuse_shared(path, keys, roles)
    _refuse_shared_addresses(addresses, origins)
    return Cluster(path, addresses, origins, keys, roles, metrics)


def write_cluster(path: str | Path, roles: Sequence[str], first_port: int = FIRST_PORT) -> list[Path]:
    """Writes a cluster.toml for this machine, with fresh keys beside it that git ignores; the files written.

    Nothing is overwritten.
    """
    path = Path(path)
    files = {name: key_path(path, name) for name in (*SERVERS, *roles)}
    for file in (path, *files.values()):
        if file.exists():
            raise InputError(f"{file}: exists already; remove it, or write the cluster somewhere else")
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = {name: KeyPair.generate() for name in files}
    lines = [
        "# Addresses and public keys only: the same file for every machine. Secret keys are in the .key files.",
        "",
    ]
    for i, name in enumerate(SERVERS):
        lines += [f"[{name}]", f'address = "127.0.0.1:{first_port + i}"']
        if name in PARTIES:
            lines.append(f'clients = "127.0.0.1:{first_port + len(SERVERS) + i}"')
        lines += [f'key = "{keys[name].public}"', ""]
    lines += ["[roles]", *(f'"{role}" = ["{keys[role].public}"]' for role in roles)]
    ignored = ignore_key(key_path(path, SERVERS[0]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, file in files.items():
        save_key(file, keys[name])
    return [path, *files.values(), *ignored]


def key_path(cluster: Path, name: str) -> Path:
    """Where the secret key of a server or role is looked for when no file is named."""
    return cluster.parent / f"{name}{KEY_SUFFIX}"


def ignore_key(key: Path) -> list[Path]:
    """Has git ignore a secret key, and other `.key` files of its folder: a line in the `.gitignore` beside it, if it
    is not there yet. Returns the file if it was written."""
    path = key.parent / ".gitignore"
    line = f"*{KEY_SUFFIX}" if key.suffix == KEY_SUFFIX else "/" + re.sub(r"([\\*?[])", r"\\\1", key.name)
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
        if line in (each.strip() for each in text.splitlines()):
            return []
        with path.open("a", encoding="utf-8") as file:
            file.write(("\n" if text and not text.endswith("\n") else "") + f"{IGNORE_HEADING}\n{line}\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}; it keeps secret keys out of git") from None
    return [path]


def save_key(path: Path, keys: KeyPair) -> None:
    """Writes a secret key, readable by its owner only; an existing file is not overwritten."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{KEY_HEADING}\n{keys.secret}\n")


def load_key(path: str | os.PathLike[str]) -> KeyPair:
    """Reads a key file; InputError if it is missing, not a key, or readable by others."""
    path = Path(path)
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputError(f"{path}: cannot be read as a key: {reason}; `mpcc keygen` makes one") from None
    if mode & 0o077:
        raise InputError(f"{path}: others may read this secret key; run chmod 600 {path}")
    if any(line.startswith(OLD_HEADING) for line in lines):
        raise InputError(f"{path}: is a key of version 0.1; make another with `mpcc keygen` and put it in cluster.toml")
    secrets = [line for line in lines if line and not line.startswith("# ")]
    if len(secrets) != 1:
        raise InputError(f"{path}: expected one secret key, found {len(secrets)} lines")
    return KeyPair.from_secret(secrets[0])


def _line(text: str, table: str, entry: str) -> int:
    """The line of an entry of a table, or of the table's heading."""
    found = 1
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            inside = stripped.split("]")[0].strip("[ ") == table
            found = number if inside else found
        elif inside and stripped.split("=")[0].strip() == entry:
            return number
    return found


def _table(path: Path, data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = data.get(name)
    if not isinstance(table, dict):
        raise InputError(f"{path}: expected a table [{name}]")
    return table


def _text(path: Path, table: Mapping[str, Any], name: str, entry: str) -> str:
    value = table.get(entry)
    if not isinstance(value, str):
        what = ', the port for clients, such as "127.0.0.1:7103"' if entry == "clients" else ""
        raise InputError(f'{path}: [{name}]: expected {entry} = "…"{what}')
    return value


def _public_key(path: Path, key: str, where: str) -> str:
    try:
        return check_public(key)
    except InputError as error:
        raise InputError(f"{path}: {where}: {error}, found {key!r}") from None


def _refuse_shared_addresses(addresses: Mapping[str, str], origins: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for place, address in addresses.items():
        if address in seen:
            raise InputError(
                f"{origins[place]}: {address} is the address in {origins[seen[address]]} too; use another port"
            )
        seen[address] = place


def _refuse_shared(path: Path, servers: Mapping[str, str], roles: Mapping[str, Sequence[str]]) -> None:
    """A key identifies a machine or role, so two may not have the same."""
    owners: dict[str, str] = {}
    for name, key in [*servers.items(), *((role, key) for role, keys in roles.items() for key in keys)]:
        if key in owners:
            raise InputError(
                f"{path}: {name} and {owners[key]} have the same key; make another with `mpcc keygen {name}`"
            )
        owners[key] = name
