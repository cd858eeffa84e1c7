"""The files for a deployment, as far as they can be checked where nothing is deployed: they parse, fit each other, the
command line and the guide, and give a server no more than it needs.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from compiler.cli.main import COMMANDS, mpcc
from mpc_runtime.operation.metrics import Metrics
from mpc_runtime.operation.watch import Door, State
from tests.mpc_runtime.operation.watching import EVENTS, PLACE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOP = Path(__file__).parents[2]
DEPLOY = TOP / "examples/deploy"
GUIDE = (TOP / "docs/deployment.md").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes/server.yaml").read_text()))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT = (DEPLOY / "systemd/mpc@.service").read_text()
PARTIES, SERVERS = {"p0", "p1"}, {"p0", "p1", "dealer"}


def understood(words: list[str]) -> None:
    """That `mpcc` takes these words; what they name need not be there."""
    command = mpcc.get_command(click.Context(mpcc), words[0])
    assert command is not None
    command.make_context(words[0], words[1:])


# -- the guide -------------------------------------------------------------------------------------------------------


def commands_of(text: str) -> list[list[str]]:
    blocks = re.findall(r"```console\n(.*?)```", text, re.S) + re.findall(r"`(mpcc [^`]*)`", text)
    parts = [part for block in blocks for line in block.splitlines() for part in re.split(r"&&|\|", line)]
    lines = [shlex.split(part.strip().lstrip("$#").strip()) for part in parts]
    return [line[i + 1 :] for line in lines for i, word in enumerate(line) if word.endswith("mpcc")]


def test_the_guide_s_commands_are_understood() -> None:
    found = [words for words in commands_of(GUIDE) if words and not (len(words) == 1 and words[0] in COMMANDS)]
    used = {"keygen", "serve", "deploy", "approve", "verify", "doctor", "fetch", "provide", "submit", "top", "party"}
    assert used <= {words[0] for words in found}
    for words in found:
        if len(words) > 1 or words[0] == "bench":
            understood(words)


def test_the_guide_s_cluster_is_one() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.S)
    data = tomllib.loads(text)
    assert data.keys() == SERVERS | {"roles"}
    for name in SERVERS:
        assert {"address", "key", "listen"} <= data[name].keys()
        assert ("clients" in data[name]) == (name in PARTIES)
        assert data[name]["address"].endswith(":7100") and data[name]["listen"].endswith(":7100")


def test_the_guide_lists_every_metric_and_no_other() -> None:
    metrics = Metrics("p0")
    metrics.asked(PLACE.plan, lambda: State(True, {"p1": True}, {"clients": Door(1, 1, 1, {"key": 1})}, 1))
    for event in EVENTS:
        metrics(PLACE, event)
    families = re.findall(r"^# TYPE (mpc_\w+)", metrics.text().decode(), re.M)
    shown = {name for name in families if not name.endswith("_created")}
    assert set(re.findall(r"`(mpc_[a-z_]+)`", GUIDE)) == shown


def test_the_guide_names_files_that_are_there() -> None:
    for name in re.findall(r"`(examples/deploy/[^`]+)`", GUIDE):
        assert (TOP / name).is_file(), name


def test_reasons_for_refusing_a_connection_are_those_of_the_code() -> None:
    code = (TOP / "mpc_runtime/transport/front.py").read_text()
    given = set(re.findall(r'_refused\["(\w+)"', code)) | set(re.findall(r'_turn_away\([^"\n]*"(\w+)"', code))
    given |= {"handshake", "unread"}  # of two in one expression
    (row,) = re.findall(r"\| `mpc_refused_connections_total` \| plan, door, reason \| (.*) \|", GUIDE)
    assert set(re.findall(r"`(\w+)`", row)) == given


# -- compose ---------------------------------------------------------------------------------------------------------


def test_compose_gives_each_pair_a_network_of_its_own() -> None:
    services, networks = COMPOSE["services"], COMPOSE["networks"]
    assert services.keys() == SERVERS and len(networks) == 3
    pairs = [frozenset(name for name in services if network in services[name]["networks"]) for network in networks]
    assert set(pairs) == {frozenset(pair) for pair in (("p0", "p1"), ("p0", "dealer"), ("p1", "dealer"))}
    assert {name for name in services if "ports" in services[name]} == PARTIES
    for network in services["dealer"]["networks"]:  # nobody outside reaches the dealer, nor it them
        assert networks[network]["internal"] is True


def test_compose_starts_what_the_command_line_has_and_confines_it() -> None:
    for name, service in COMPOSE["services"].items():
        understood(service["command"])
        understood(service["healthcheck"]["test"][2:])
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert "no-new-privileges:true" in service["security_opt"]
        assert "privileged" not in service and "environment" not in service
        assert service["volumes"] == [f"./{name}:/etc/mpc:ro", f"{name}:/var/lib/mpc"]
        assert service["command"][:4] == ["serve", name, "--data", "/var/lib/mpc"]
    assert COMPOSE["volumes"].keys() == SERVERS
    assert (DEPLOY / COMPOSE["services"]["p0"]["build"]["context"]).resolve() == TOP


# -- the image -------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def test_the_image_copies_what_is_there_and_no_keys() -> None:
    for name, words in instructions():
        assert name in {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "VOLUME", "EXPOSE", "ENTRYPOINT", "CMD"}
        if name == "COPY" and not words.startswith("--from"):
            assert all((TOP / source).exists() for source in words.split()[:-1]), words
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {"**/*.key", "**/cluster.toml", "**/material"} <= set(ignored)


def test_the_image_is_small_and_runs_as_nobody_in_particular() -> None:
    found = instructions()
    stages = [i for i, (name, _) in enumerate(found) if name == "FROM"]
    last = found[stages[-1] :]
    assert len(stages) == 2 and all(re.search(r":\d[\w.-]+", found[i][1]) for i in stages)  # no :latest
    assert not any("gcc" in words for name, words in last)
    users = [words for name, words in last if name == "USER"]
    assert users == ["10001:10001"]
    assert [name for name, _ in last].index("USER") < [name for name, _ in last].index("ENTRYPOINT")
    for name, words in found:
        if name == "RUN" and "apt-get install" in words:
            assert "--no-install-recommends" in words and "rm -rf /var/lib/apt/lists" in words
        if name in ("ENTRYPOINT", "CMD"):
            assert yaml.safe_load(words)  # the form that needs no shell, so that SIGTERM arrives


# -- systemd ---------------------------------------------------------------------------------------------------------


def test_the_unit_starts_what_the_command_line_has() -> None:
    (start,) = re.findall(r"^ExecStart=(\S+) (.*)$", UNIT, re.M)
    assert start[0] == "/opt/mpc/bin/mpcc"
    for name in SERVERS:
        (server,) = re.findall(r"^MPC_SERVER=(.*)$", (DEPLOY / f"systemd/{name}.env").read_text(), re.M)
        understood(shlex.split(start[1].replace("$MPC_SERVER", server).replace("%i", name)))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_understands_the_unit_and_finds_it_confined(tmp_path: Path) -> None:
    unit = tmp_path / "mpc@p0.service"
    unit.write_text(UNIT.replace("/opt/mpc/bin/mpcc", shutil.which("true") or ""))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr.strip()) == (0, "")
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit]
    safe = subprocess.run(words, capture_output=True, text=True, check=False)
    assert safe.returncode == 0, safe.stdout + safe.stderr  # 2.0 of 10; a service by itself has 9.6


# -- the firewall ----------------------------------------------------------------------------------------------------


def test_the_firewall_lets_the_servers_in_and_nobody_to_the_metrics() -> None:
    text = (DEPLOY / "systemd/mpc.nft").read_text()
    assert text.count("{") == text.count("}")
    rules = [line.strip() for line in text.splitlines() if "dport" in line]
    assert rules == [
        "tcp dport $servers_port ip saddr @servers4 accept",
        "tcp dport $servers_port ip6 saddr @servers6 accept",
        "tcp dport $servers_port drop",
        "tcp dport 9100 drop",
    ]


# -- Kubernetes ------------------------------------------------------------------------------------------------------


def kind(name: str) -> dict[str, Any]:
    (found,) = [manifest for manifest in MANIFESTS if manifest["kind"] == name]
    return found


def test_every_manifest_is_one_and_selects_the_same_pods() -> None:
    pod = kind("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert all(
        each.keys() >= {"apiVersion", "kind", "metadata"} and each["metadata"]["name"] == "p0" for each in MANIFESTS
    )
    selectors = [
        kind("StatefulSet")["spec"]["selector"]["matchLabels"],
        kind("Service")["spec"]["selector"],
        kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ]
    assert selectors == [pod] * 4
    assert kind("StatefulSet")["spec"]["replicas"] == 1


def test_the_pod_is_confined_and_watched() -> None:
    spec = kind("StatefulSet")["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 10001
    volumes = {volume["name"] for volume in spec["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in kind("StatefulSet")["spec"]["volumeClaimTemplates"]}
    for container in (*spec["initContainers"], *spec["containers"]):
        allowed = container["securityContext"]
        assert (allowed["allowPrivilegeEscalation"], allowed["readOnlyRootFilesystem"]) == (False, True)
        assert allowed["capabilities"]["drop"] == ["ALL"]
        assert container["resources"]["limits"]["memory"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    (server,) = spec["containers"]
    understood(server["args"])
    assert server["readinessProbe"]["httpGet"]["path"] == "/health"
    assert server["livenessProbe"]["httpGet"]["path"] == "/metrics"  # not killed because another is gone
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert ports == {"servers": 7100, "clients": 7103, "metrics": 9100}
    served = {port["targetPort"]: port["port"] for port in kind("Service")["spec"]["ports"]}
    assert served == {"servers": 7100, "clients": 7103}  # and no metrics


def test_the_policy_names_who_may_come_to_each_port() -> None:
    allowed = {rule["ports"][0]["port"]: "from" in rule for rule in kind("NetworkPolicy")["spec"]["ingress"]}
    assert allowed == {"servers": True, "clients": False, "metrics": True}
    assert set(kind("NetworkPolicy")["spec"]["policyTypes"]) == {"Ingress", "Egress"}
