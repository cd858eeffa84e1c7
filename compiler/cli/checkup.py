"""What is wrong with a deployment, as far as one machine can find out, and what to do about each thing.

Looks at the keys that are here, at the folder for data, at the ports of the servers that are to run here, and, as every
machine whose key is here, at the doors that this machine may knock at. Leaves the connection itself to the runtime's
`deployment/probe.py`, and how findings are shown to `doctor.py`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from compiler.cli.finding import Finding
from mpc_runtime.deployment.cluster import Cluster
from mpc_runtime.deployment.keys import key_path, load_key
from mpc_runtime.deployment.probe import CLIENTS_PAD, SERVERS_PAD, Fault, Measured, Unreached, measure, told
from mpc_runtime.errors import InputError
from mpc_runtime.plan import FORMAT, Plan
from mpc_runtime.servers.process import SERVERS
from mpc_runtime.transport.address import clients_of, listening
from mpc_runtime.transport.identity import KeyPair
from mpc_runtime.transport.node import Hello, new_nonce

__all__ = ["check_data", "check_deployment", "check_keys"]

CLOCK_SECONDS = 2.0  # more than that, and logs of several machines cannot be read side by side
FREE_BYTES = 1 << 30  # for logs and stored material
PARTIES = SERVERS[:2]


def check_keys(cluster: Cluster, key: Path | None = None) -> tuple[dict[str, KeyPair], list[Finding]]:
    """The keys that are on this machine, by server or role, and what is wrong with them. key: another file, of whoever
    it is."""
    keys: dict[str, KeyPair] = {}
    findings = []
    files = {name: key_path(cluster.path, name) for name in (*cluster.server_keys, *cluster.roles)}
    if key is not None:
        try:
            pair = load_key(key)
        except InputError as error:
            return {}, [Finding(f"key in {key}", False, str(error), _mend_key(key, error))]
        owner = next((name for name in files if _owns(cluster, name, pair)), None)
        if owner is None:
            return {}, [_stranger(cluster, f"key in {key}", pair)]
        files = {owner: key}
    for name, file in files.items():
        if not file.exists():
            findings.append(Finding(f"key of {name}", True, "not on this machine"))
            continue
        try:
            pair = load_key(file)
        except InputError as error:
            findings.append(Finding(f"key of {name}", False, str(error), _mend_key(file, error)))
            continue
        if not _owns(cluster, name, pair):
            findings.append(_stranger(cluster, f"key of {name}", pair))
            continue
        keys[name] = pair
        findings.append(Finding(f"key of {name}", True, str(file)))
    return keys, findings


def _owns(cluster: Cluster, name: str, keys: KeyPair) -> bool:
    return keys.public in ((cluster.server_keys[name],) if name in SERVERS else cluster.roles[name])


def _stranger(cluster: Cluster, what: str, keys: KeyPair) -> Finding:
    owner = next((name for name in (*SERVERS, *cluster.roles) if _owns(cluster, name, keys)), None)
    if owner is not None:
        return Finding(what, False, f"is the key of {owner}", f"give each machine its own file; this is {owner}.key")
    found = f"its public half is {keys.public}, which {cluster.path} does not list"
    return Finding(what, False, found, f"put it into {cluster.path} on every machine, or find the right key file")


def _mend_key(file: Path, error: InputError) -> str:
    if "others may read" in str(error):
        return f"chmod 600 {file}; if others have logged in there, make a new key: they may have it"
    return f"restore {file} from its backup, or make another with `mpcc keygen` and give its public half to all"


def check_data(folder: Path) -> Finding:
    """That a server can keep its data there."""
    what = f"data in {folder}"
    owner = f"chown it to the user {os.getenv('USER') or os.getuid()} of the server, and chmod 700 {folder}"
    if not folder.is_dir():
        there = "is not a folder" if folder.exists() else "is not there"
        return Finding(what, False, there, f"mkdir -p {folder}, and {owner}")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-"):
            pass
    except OSError as error:
        return Finding(what, False, f"cannot be written: {(error.strerror or str(error)).lower()}", owner)
    if folder.stat().st_mode & 0o077:
        return Finding(what, False, "others may look into it", f"chmod 700 {folder}")
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        return Finding(what, False, f"{free >> 20} MiB are free", "make room: serving stops when the disk is full")
    return Finding(what, True, f"can be written, {free >> 30} GiB are free")


# -- the network -------------------------------------------------------------------------------------------------------


def check_deployment(cluster: Cluster, keys: Mapping[str, KeyPair], plan: Plan | None) -> Iterator[Finding]:
    """Every door, by everybody whose key is here. plan: the one that the parties are to have."""
    mine = [name for name in SERVERS if name in keys]
    others = {name: keys[name] for name in keys if name not in SERVERS}
    anybody = next(iter(keys.values()), KeyPair.generate())
    for server in SERVERS:
        knocking = {name: keys[name] for name in mine if name != server}
        if knocking:
            for name, pair in knocking.items():
                yield _door(cluster, server, server, name, pair, SERVERS_PAD)
        else:
            yield _seen(cluster, server, server, anybody, here=server in mine)
    for party in PARTIES:
        if not others:
            yield _seen(cluster, party, clients_of(party), anybody, here=party in mine)
        for name, pair in others.items():
            finding = _door(cluster, party, clients_of(party), name, pair, CLIENTS_PAD)
            yield finding
            if finding.well and plan is not None:
                yield _plan_at(cluster, party, name, pair, plan)


def _door(cluster: Cluster, server: str, place: str, name: str, keys: KeyPair, pad: int) -> Finding:
    """A door at which `name` may knock."""
    address = cluster.addresses[place]
    what = f"{name} -> {place} at {address}"
    try:
        found = measure(address, keys, cluster.server_keys[server], pad)
    except Unreached as error:
        return _unreached(cluster, server, place, what, error.fault, keys)
    text = f"{1000 * found.round_trip:.2f} ms, {found.bytes_per_second / 1e6:.0f} MB/s or more, {_clock(found)}"
    if abs(found.clock) > CLOCK_SECONDS + found.round_trip / 2:
        return Finding(what, False, text, f"set the clocks of {server} and of this machine: timedatectl set-ntp true")
    return Finding(what, True, text)


def _clock(found: Measured) -> str:
    if abs(found.clock) <= found.round_trip / 2:
        return "the same time"
    return f"its clock {abs(found.clock):.3f} s {'ahead' if found.clock > 0 else 'behind'}"


def _seen(cluster: Cluster, server: str, place: str, keys: KeyPair, *, here: bool) -> Finding:
    """A door at which nobody whose key is here may knock: only that the right server answers."""
    address = cluster.addresses[place]
    what = f"{place} at {address}"
    try:
        measure(address, keys, cluster.server_keys[server], CLIENTS_PAD)
    except Unreached as error:
        if error.fault is Fault.OUR_KEY:  # said by the server, whose key it has shown before
            return Finding(what, True, "answers with its key; round trip and clock not checked, without a key for it")
        if here and error.fault is Fault.CLOSED:
            return _not_running(cluster, server, place, what)
        return _unreached(cluster, server, place, what, error.fault, keys)
    return Finding(what, True, "answers")


def _not_running(cluster: Cluster, server: str, place: str, what: str) -> Finding:
    """A server that is to run here and does not: whether it could."""
    try:
        listening(place, cluster.listens[place]).close()
    except InputError as error:
        port = cluster.listens[place].rpartition(":")[2]
        help = f"end the program that uses port {port} (ss -ltnp), or correct where {server} is to listen"
        return Finding(what, False, str(error), help)
    return Finding(what, False, "nobody listens there, and it could be listened at", _start(cluster, server))


def _unreached(cluster: Cluster, server: str, place: str, what: str, fault: Fault, keys: KeyPair) -> Finding:
    address = cluster.addresses[place]
    port = address.rpartition(":")[2]
    if fault is Fault.OTHER_KEY:
        return _impostor(cluster, server, place, what, keys)
    help = {
        Fault.NAME: f"correct the address in {cluster.path}, or add the name to DNS or /etc/hosts of this machine",
        Fault.CLOSED: _start(cluster, server) + "; if it runs, correct its address",
        Fault.SILENT: f"open TCP port {port} of {server} for this machine in the firewalls between them",
        Fault.OTHER_PROGRAM: f"end the program that uses port {port} (ss -ltnp), or give {server} another port",
        Fault.BUSY: "try again in a while",
        Fault.OUR_KEY: f"give the operator of {server} this cluster.toml: it has another, without our public key",
    }[fault]
    return Finding(what, False, fault.value, help)


def _impostor(cluster: Cluster, server: str, place: str, what: str, keys: KeyPair) -> Finding:
    """Who it is that answers with another key."""
    for other in SERVERS:
        if other != server and _answers_as(cluster.addresses[place], keys, cluster.server_keys[other]):
            help = f"the address of {place} in {cluster.path} is that of {other}; correct it"
            return Finding(what, False, f"{other} answers there", help)
    help = f"ask the operator of {server} on another way for its public key, and put it into {cluster.path}"
    return Finding(what, False, Fault.OTHER_KEY.value, help)


def _answers_as(address: str, keys: KeyPair, public: str) -> bool:
    try:
        measure(address, keys, public, CLIENTS_PAD)
    except Unreached as error:
        return error.fault is Fault.OUR_KEY
    return True


def _start(cluster: Cluster, server: str) -> str:
    command = "dealer" if server == "dealer" else f"party {server[1]}"
    return f"start it: mpcc {command} FILE --cluster {cluster.path}"


def _plan_at(cluster: Cluster, party: str, name: str, keys: KeyPair, plan: Plan) -> Finding:
    """Whether a party has the version and the plan that we have."""
    hello = Hello(name, plan.hash, FORMAT).body(new_nonce())
    what = f"plan and version of {party}"
    try:
        answer = told(cluster.addresses[clients_of(party)], keys, cluster.server_keys[party], hello)
    except Unreached as error:
        return Finding(what, False, str(error), "try again")
    if answer.get("kind") == "welcome":
        return Finding(what, True, f"{plan.hash[:16]}, as here")
    text = str(answer.get("message", answer.get("kind")))
    if "protocol version" in text or "plan format" in text:
        return Finding(what, False, text, "install the same version of mpc-runtime on all machines")
    return Finding(what, False, text, "give all machines the same plan file; `mpcc verify` prints its hash")
