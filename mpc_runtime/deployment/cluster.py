"""`cluster.toml`: where the servers of a deployment are, whose public keys may connect, and what they may do. Secret
keys are files of their own (`keys.py`).

    [p0]                                    # and [p1]; [dealer], which has no clients
    address = "p0.example.org:7100"         # where the other servers reach it; an IPv6 address is in brackets
    clients = "p0.example.org:7103"         # where the machines of the roles reach it
    key = "…"                               # public key, 40 characters
    listen = "0.0.0.0:7100"                 # where it listens, if that differs (NAT, containers)
    listen_clients = "0.0.0.0:7103"
    metrics = "127.0.0.1:9100"              # if it is to show /metrics and /health (`operation/endpoint.py`)

    [roles]
    modeller = ["…"]                        # one key per machine that may speak for the role

    [[roles.client]]                        # or, one by one, what each of them may do
    key = "…"
    may = ["submit", "receive"]             # of: provide, submit, receive, deploy; all but deploy if it is left out
    name = "ward 3"
    queries_per_minute = 60
    queries = 100000                        # in all
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..servers.members import RIGHTS, USUAL, Member, Members, roles_of
from ..servers.process import SERVERS, MachineConfig
from ..transport.address import check_address, clients_of, is_wildcard
from ..transport.identity import KeyPair, fingerprint
from .entries import Entries
from .keys import ignore_key, key_path, save_key

__all__ = ["Cluster", "load_cluster", "write_cluster", "write_public"]

PARTIES = SERVERS[:2]
ENTRIES = ("address", "clients", "key", "listen", "listen_clients", "metrics")
DEALER_ENTRIES = ("address", "key", "listen", "metrics")
MEMBER_ENTRIES = ("key", "may", "name", "queries_per_minute", "queries")
NAME_LENGTH = 64
HEADING = "# Addresses and public keys only: the same file for every machine. Secret keys are in the .key files."
COMMENTS = """
# Where a server listens, if others reach it at another address (NAT, containers), is in its table:
#     listen = "0.0.0.0:7100"
#     listen_clients = "0.0.0.0:7103"
#
# What each machine of a role may do, instead of the role's list of keys:
#     [[roles.client]]
#     key = "…"
#     may = ["submit", "receive"]      # of: provide, submit, receive, deploy
#     name = "ward 3"
#     queries_per_minute = 60
#     queries = 100000
"""


@dataclass(frozen=True)
class Cluster:
    """What a cluster.toml says.

    addresses: where servers are reached, by servers under a server's name, a party's clients under that of
    `clients_of`. listens: where they listen, likewise. origins, listen_origins: where each is written
    ("cluster.toml:4").
    """

    path: Path
    addresses: Mapping[str, str]
    origins: Mapping[str, str]
    listens: Mapping[str, str]
    listen_origins: Mapping[str, str]
    server_keys: Mapping[str, str]
    roles: Mapping[str, tuple[str, ...]]
    """The keys of each role."""
    members: Members
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Where servers show their metrics, those that do."""

    def machine(self, name: str, keys: KeyPair, timeout: float, window: int, wait: float) -> MachineConfig:
        """The configuration of one of its servers; InputError when the key is not the one in the file."""
        self.check_key(name, keys)
        return MachineConfig(
            name,
            keys,
            self.listens[name],
            self.server_keys,
            self.members,
            timeout,
            window,
            wait,
            clients=self.listens.get(clients_of(name), ""),
            origin=self.listen_origins[name],
            clients_origin=self.listen_origins.get(clients_of(name), ""),
            origins=self.origins,
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
    """Reads and checks a cluster.toml; InputError names all that is wrong: the line, and what was expected."""
    entries = Entries(Path(path), "; `mpcc init-cluster` writes one")
    for name in sorted(entries.data.keys() - {*SERVERS, "roles"}):
        entries.wrong(entries.origin(name), f"unknown table [{name}]; expected [p0], [p1], [dealer] and [roles]")
    addresses, origins, listens, listen_origins, keys, metrics = {}, {}, {}, {}, {}, {}
    for name in SERVERS:
        table = entries.table(name)
        entries.expect_known(table, ENTRIES if name in PARTIES else DEALER_ENTRIES, name)
        places = [(name, "address", "listen")]
        if name in PARTIES:
            places.append((clients_of(name), "clients", "listen_clients"))
        for place, public, own in places if table else ():
            addresses[place], origins[place] = _reachable(entries, table, name, public), entries.origin(name, public)
            listens[place], listen_origins[place] = addresses[place], origins[place]
            if own in table:
                listens[place], listen_origins[place] = entries.address(table, name, own), entries.origin(name, own)
        if "metrics" in table:
            metrics[name] = entries.text(table, name, "metrics")
        if table:
            keys[name] = entries.public_key(
                entries.text(table, name, "key"), entries.origin(name, "key"), f"[{name}] key"
            )
    _refuse_shared_addresses(entries, addresses, origins)
    for name in PARTIES:
        here = {place: listens.get(place, "") for place in (name, clients_of(name))}
        _refuse_shared_addresses(entries, here, listen_origins)
    members = _members(entries, keys)
    entries.finish()
    roles = {**dict.fromkeys(entries.table("roles"), ()), **roles_of(members)}
    return Cluster(Path(path), addresses, origins, listens, listen_origins, keys, roles, members, metrics)


def _reachable(entries: Entries, table: Mapping[str, Any], server: str, entry: str) -> str:
    """An address at which others reach a server."""
    hint = ', the port for clients, such as "p0.example.org:7103"' if entry == "clients" else ""
    address = entries.address(table, server, entry, hint=hint)
    if address and is_wildcard(address):
        own = "listen" if entry == "address" else "listen_clients"
        problem = f"nobody can be reached at {address}: write this machine's address, and this under {own}"
        entries.wrong(entries.origin(server, entry), problem)
    return address


def _members(entries: Entries, server_keys: Mapping[str, str]) -> Members:
    """The holders of keys, by key: a key identifies one of them, so two may not have the same."""
    members: dict[str, Member] = {}
    owners: dict[str, str] = {}
    for server, key in server_keys.items():
        if key and key in owners:
            problem = f"{server} and {owners[key]} have the same key; make another with `mpcc keygen {server}`"
            entries.wrong(entries.origin(server, "key"), problem)
        owners[key] = server
    for role, listed in entries.table("roles").items():
        if role in SERVERS:
            entries.wrong(entries.origin("roles", role), f"[roles] {role}: this is the name of a server")
        for key, member, origin in _listed(entries, role, listed):
            if key in owners:
                problem = f"{role} and {owners[key]} have the same key; make another with `mpcc keygen {role}`"
                entries.wrong(origin, problem)
            owners[key] = role
            members[key] = member
    return members


def _listed(entries: Entries, role: str, listed: object) -> list[tuple[str, Member, str]]:
    """The members of a role that are without fault, with their places."""
    what = f"[roles] {role}"
    if not isinstance(listed, list) or not all(isinstance(each, (str, dict)) for each in listed):
        problem = f'{what}: expected a list of public keys, ["…"], or tables [[roles.{role}]]'
        entries.wrong(entries.origin("roles", role), problem)
        return []
    found = []
    for i, each in enumerate(listed):
        if isinstance(each, dict):
            origin = entries.origin("roles", role, i)
            member = _member(entries, each, role, i)
            given = entries.text(each, "roles", role, i, "key")
            key = given and entries.public_key(given, entries.origin("roles", role, i, "key"), f"{what} key")
        else:
            origin = entries.origin_of_text(each, "roles", role)
            member, key = Member(role), entries.public_key(each, origin, what)
        if key:
            found.append((key, member, origin))
    return found


def _member(entries: Entries, table: Mapping[str, Any], role: str, i: int) -> Member:
    """What a table says of the holder of its key."""
    where = "roles", role, i
    entries.expect_known(table, MEMBER_ENTRIES, *where)
    may, name = table.get("may", sorted(USUAL)), table.get("name", "")
    if not isinstance(may, list) or not all(isinstance(right, str) and right in RIGHTS for right in may):
        problem = f"may: expected a list of {', '.join(map(repr, RIGHTS))}, found {may!r}"
        entries.wrong(entries.origin(*where, "may"), problem)
        may = []
    if not isinstance(name, str) or len(name) > NAME_LENGTH or not name.isprintable():
        problem = f"name: expected a text of at most {NAME_LENGTH} characters, found {name!r}"
        entries.wrong(entries.origin(*where, "name"), problem)
        name = ""
    per_minute = entries.count(table, *where, "queries_per_minute")
    return Member(role, frozenset(may), name, per_minute, entries.count(table, *where, "queries"))


def _refuse_shared_addresses(entries: Entries, addresses: Mapping[str, str], origins: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for place, address in addresses.items():
        if address and address in seen:
            problem = f"{address} is the address in {origins[seen[address]]} too; use another port"
            entries.wrong(origins[place], problem)
        seen[address] = place


# -- writing -----------------------------------------------------------------------------------------------------------


def write_cluster(path: str | Path, roles: Sequence[str], first_port: int) -> list[Path]:
    """Writes a cluster.toml for this machine, with fresh keys beside it that git ignores; the files written.

    Nothing is overwritten.
    """
    path = Path(path)
    files = {name: key_path(path, name) for name in (*SERVERS, *roles)}
    _expect_none(path, *files.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = {name: KeyPair.generate() for name in files}
    servers = {}
    for i, name in enumerate(SERVERS):
        clients = f"127.0.0.1:{first_port + len(SERVERS) + i}" if name in PARTIES else ""
        servers[name] = f"127.0.0.1:{first_port + i}", clients, keys[name].public
    ignored = ignore_key(key_path(path, SERVERS[0]))
    path.write_text(_toml(servers, {role: (keys[role].public,) for role in roles}), encoding="utf-8")
    for name, file in files.items():
        save_key(file, keys[name])
    return [path, *files.values(), *ignored]


def write_public(
    path: str | Path, servers: Mapping[str, tuple[str, str]], roles: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Writes a cluster.toml from public keys alone; the fingerprints of each server's and role's keys, to be compared
    with their owners. Nothing is overwritten.

    servers: an address and a public key by name; clients reach a party at its port and three more.
    """
    path = Path(path)
    _expect_none(path)
    entries = {}
    for name, (address, key) in servers.items():
        address = check_address(address, f"the address of {name}")
        host, _, port = address.rpartition(":")
        clients = check_address(f"{host}:{int(port) + len(SERVERS)}", f"the clients' address of {name}")
        entries[name] = address, clients if name in PARTIES else "", key
    owners = {**{name: [key] for name, (_, key) in servers.items()}, **roles}
    prints = {name: [_fingerprint(key, name) for key in keys] for name, keys in owners.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_toml(entries, roles) + COMMENTS, encoding="utf-8")
    try:
        load_cluster(path)
    except InputError:
        path.unlink()
        raise
    return prints


def _fingerprint(key: str, name: str) -> str:
    try:
        return fingerprint(key)
    except InputError as error:
        raise InputError(f"the key of {name}: {error}, found {key!r}") from None


def _expect_none(*files: Path) -> None:
    for file in files:
        if file.exists():
            raise InputError(f"{file}: exists already; remove it, or write the cluster somewhere else")


def _toml(servers: Mapping[str, tuple[str, str, str]], roles: Mapping[str, Sequence[str]]) -> str:
    """servers: address, address for clients if there are any, and public key."""
    lines = [HEADING, ""]
    for name, (address, clients, key) in servers.items():
        lines += [f"[{name}]", f'address = "{address}"']
        if clients:
            lines.append(f'clients = "{clients}"')
        lines += [f'key = "{key}"', ""]
    listed = {role: ", ".join(f'"{key}"' for key in keys) for role, keys in roles.items()}
    return "\n".join([*lines, "[roles]", *(f'"{role}" = [{keys}]' for role, keys in listed.items())]) + "\n"
