"""The command line as users meet it: exit codes, messages without tracebacks, files in and out, five terminals."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from compiler.cli.main import COMMANDS
from mpc_runtime.plan import FORMAT
from tests.terminal import ROOT, command, environment, free_port, mpcc, started, typed
from tests.waiting import SECONDS

MODEL = """model credit
role bank, bureau
dim  batch = 2
input x : [batch, 3] from bank   in [-4, 4]
param w : [3, 1]     from bureau in [-4, 4]
output score = x @ w to bank
"""
BAD = MODEL.replace("x @ w", "x @ v").replace("dim  batch", "dmi  batch")
W = np.array([[1.0], [-2.0], [0.5]])
X = np.linspace(-4, 4, 15).reshape(5, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "credit.ppml").write_text(MODEL)
    (tmp_path / "bad.ppml").write_text(BAD)
    np.save(tmp_path / "w.npy", W)
    np.savez(tmp_path / "weights.npz", w=W)
    np.save(tmp_path / "x.npy", X)
    return tmp_path


def test_help_lists_every_command_and_version_says_what_counts(folder: Path) -> None:
    text = typed(folder, "--help").stdout
    for name in COMMANDS:
        assert f"  {name} " in text
    assert "--param" in mpcc(folder, "run", "--help").stdout
    assert f"plan format {FORMAT}, kernels" in typed(folder, "--version").stdout


def test_tables_are_arrays_of_one_axis_and_numbers(folder: Path) -> None:
    text = """model doses
    role clinic, lab
    input dose : [3] from clinic in [0, 9]
    input site : [3] from lab in [0, 9]
    param rate : [] from lab in [0, 4]
    output cost = dose * site * rate to lab
    """
    (folder / "doses.ppml").write_text(text)
    (folder / "column.csv").write_text("dose\n1\n2\n3\n")
    (folder / "row.csv").write_text("4,5,6\n")
    (folder / "number.csv").write_text("0.5\n")
    files = ["--input", "dose=column.csv", "--input", "site=row.csv", "--param", "rate=number.csv"]
    done = mpcc(folder, "run", "doses.ppml", "--simulate", *files, "--output", "cost=out.csv")
    assert done.returncode == 0, done.stderr
    assert np.loadtxt(folder / "out.csv") == pytest.approx([2, 5, 9], abs=0.01)
    wrong = mpcc(folder, "run", "doses.ppml", "--simulate", *files[:-1], "rate=row.csv")
    assert "rate: expected shape [], found [1, 3]" in wrong.stderr


def test_check_and_exit_codes(folder: Path) -> None:
    good, bad = mpcc(folder, "check", "credit.ppml"), mpcc(folder, "check", "bad.ppml")
    assert (good.returncode, good.stdout) == (0, "credit.ppml: ok (batch = 2)\n")
    assert bad.returncode == 1
    assert "bad.ppml:3:1: error:" in bad.stderr
    assert mpcc(folder, "check").returncode == 2
    assert "Did you mean 'check'?" in mpcc(folder, "chekc").stderr
    assert mpcc(folder, "check", "none.ppml").stderr.startswith("error: none.ppml: cannot be read")
    found = mpcc(folder, "check", "--json", "bad.ppml")
    assert found.returncode == 1
    assert [each["line"] for each in json.loads(found.stdout)] == [3, 6]


def test_warnings_are_shown_once(folder: Path) -> None:
    (folder / "unused.ppml").write_text(MODEL.replace("output", "input z : [2] from bank in [0, 1]\noutput"))
    done = mpcc(folder, "check", "unused.ppml")
    assert done.returncode == 0
    assert done.stderr.count("the input `z` is never used") == 1
    assert "CompileWarning" not in done.stderr
    assert "looks like a model's text" in mpcc(folder, "check", MODEL).stderr


def test_a_plan_stands_wherever_a_file_does(folder: Path) -> None:
    assert mpcc(folder, "compile", "credit.ppml", "--dim", "batch=3").returncode == 0
    explained = json.loads(mpcc(folder, "explain", "--json", "credit.plan").stdout)
    assert explained["dims"] == {"batch": 3}
    assert explained["cost"]["online_bytes"] > 0
    assert any("score" in sentence for sentence in explained["leakage"])
    again = mpcc(folder, "compile", "credit.plan", "--dim", "batch=4")
    assert again.returncode == 2
    assert "its sizes and options are fixed" in again.stderr
    (folder / "broken.plan").write_bytes((folder / "credit.plan").read_bytes()[:40])
    assert "the plan is damaged" in mpcc(folder, "explain", "broken.plan").stderr


def test_verify_says_what_a_plan_reveals_and_whether_it_is_its_source(folder: Path) -> None:
    assert mpcc(folder, "compile", "credit.ppml", "--dim", "batch=3").returncode == 0
    said = mpcc(folder, "verify", "credit.plan", "--source", "credit.ppml")
    assert said.returncode == 0 and "what credit.ppml compiles to" in said.stdout
    assert "output `score` is revealed to" in said.stdout
    found = json.loads(mpcc(folder, "verify", "--json", "credit.plan").stdout)
    assert found["plan"] in said.stdout and found["source"] is None
    (folder / "other.ppml").write_text(MODEL.replace("output score = x @ w", "output score = x @ w * 2"))
    other = mpcc(folder, "verify", "credit.plan", "--source", "other.ppml")
    assert other.returncode == 1 and "the plan is not what other.ppml compiles to" in other.stderr
    text = mpcc(folder, "verify", "credit.ppml")
    assert text.returncode == 1 and "not a plan" in text.stderr


@pytest.mark.parametrize("weights", [["weights.npz"], ["w=w.npy"]])
def test_run_on_any_number_of_rows(folder: Path, weights: list[str]) -> None:
    arguments = [part for w in weights for part in ("--param", w)]
    done = mpcc(folder, "run", "credit.ppml", *arguments, "--input", "x=x.npy", "--output", "score=out.csv", "--json")
    assert done.returncode == 0, done.stderr
    assert np.allclose(json.loads(done.stdout)["results"]["score"], X @ W, atol=1e-3)
    assert np.allclose(np.loadtxt(folder / "out.csv", delimiter=",", ndmin=2), X @ W, atol=1e-3)


def test_run_says_what_is_wrong_before_anything_runs(folder: Path) -> None:
    np.save(folder / "far.npy", X * 10)
    far = mpcc(folder, "run", "credit.ppml", "--param", "weights.npz", "--input", "x=far.npy")
    assert far.returncode == 1
    assert "x[0, 0]: expected a value in [-4, 4], found -40" in far.stderr
    other = mpcc(folder, "run", "credit.ppml", "--param", "weights.npz", "--input", "x=x.npy", "--output", "s=o.npy")
    assert "no such output; the plan has score" in other.stderr
    assert mpcc(folder, "run", "credit.ppml", "--input", "x").returncode == 2


def test_simulation_stands_beside_float64(folder: Path) -> None:
    np.save(folder / "two.npy", X[:2])
    done = mpcc(folder, "run", "credit.ppml", "--simulate", "--json", "--param", "w=w.npy", "--input", "x=two.npy")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert np.allclose(found["results"]["score"], X[:2] @ W, atol=1e-3)
    assert found["errors"]["score"] < 1e-3
    assert found["violations"] == []


def test_a_simulation_takes_any_number_of_rows(folder: Path) -> None:
    (folder / "promised.ppml").write_text(
        MODEL.replace("output score = x @ w", "score = x @ w in [-1, 1]\noutput score")
    )
    rows = X[:2].repeat([4, 3], axis=0) / 100  # the model takes 2
    rows[4] = X[np.abs(X @ W).argmax()]
    np.save(folder / "rows.npy", rows)
    command = ["run", "promised.ppml", "--simulate", "--param", "w=w.npy", "--input", "x=rows.npy", "--output", "o.npy"]
    found = mpcc(folder, *command)
    assert np.allclose(np.load(folder / "o.npy"), rows @ W, atol=1e-3)
    assert found.returncode == 1 and "in the run that begins with row 4" in found.stdout


@pytest.mark.parametrize("checked", [[], ["--checked"]])
def test_a_simulation_that_leaves_its_ranges_fails(folder: Path, checked: list[str]) -> None:
    promised = MODEL.replace("output score = x @ w", "score = x @ w in [-1, 1]\noutput score")
    (folder / "promised.ppml").write_text(promised)
    np.save(folder / "small.npy", X[:2] / 100)
    np.save(folder / "two.npy", X[:2])
    command = ["run", "promised.ppml", "--simulate", *checked, "--param", "w=w.npy"]
    kept, broken = (mpcc(folder, *command, "--input", f"x={name}.npy") for name in ("small", "two"))
    assert (kept.returncode, kept.stderr) == (0, "")
    assert "every value stays in its range" in kept.stdout
    assert broken.returncode == 1
    assert "line 6: `score` is expected in [-1, 1]" in broken.stdout
    assert broken.stderr.startswith("error: values leave their ranges")
    assert ("promise score (line 6) in [-1, 1]: broken" in broken.stdout) == bool(checked)
    assert ("promise score (line 6) in [-1, 1]: kept" in kept.stdout) == bool(checked)
    asked = mpcc(folder, *command, "--json", "--input", "x=two.npy")
    assert asked.returncode == 1
    assert list(json.loads(asked.stdout)["checks"].values()) == [False] * len(checked)


def test_a_check_is_no_output(folder: Path) -> None:
    (folder / "promised.ppml").write_text(
        MODEL.replace("output score = x @ w", "score = x @ w in [-90, 90]\noutput score")
    )
    arguments = ["--checked", "--param", "w=w.npy", "--input", "x=x.npy", "--output", "s=o.npy"]
    assert "no such output; the plan has score\n" in mpcc(folder, "run", "promised.ppml", *arguments).stderr


def test_a_reader_that_has_seen_enough_is_no_error(folder: Path) -> None:
    with subprocess.Popen(
        command("explain", "credit.ppml"),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()  # type: ignore[union-attr]
        assert process.stderr.read() == ""  # type: ignore[union-attr]
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize(
    ("output", "message"),
    [("score=o.xyz", "expected .npy .npz .csv .safetensors, found .xyz"), ("no/o.npz", "there is no folder no")],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_run(folder: Path, output: str, message: str) -> None:
    done = mpcc(folder, "run", "credit.ppml", "--output", output)  # with nothing to run on
    assert done.returncode == 1
    assert message in done.stderr


def test_ports_that_do_not_exist_are_wrong_usage(folder: Path) -> None:
    assert mpcc(folder, "init-cluster", "credit.ppml", "--port", "65534").returncode == 2
    assert not (folder / "cluster.toml").exists()


@pytest.mark.parametrize("time", ["5", "-5ms", "5 minutes", "ms"])
def test_a_time_that_is_none_is_wrong_usage(folder: Path, time: str) -> None:
    wrong = mpcc(folder, "party", "0", "credit.ppml", "--linger", time)
    assert wrong.returncode == 2
    assert f"expected a time such as 5ms or 0.5s, found '{time}'" in wrong.stderr


def test_a_role_is_told_whose_an_input_is_before_it_connects(folder: Path) -> None:
    wrong = mpcc(folder, "submit", "credit.ppml", "--role", "bureau", "--input", "x=x.npy")
    assert (wrong.returncode, wrong.stderr) == (1, "error: x: is an input of bank, not of bureau\n")
    wrong = mpcc(folder, "provide", "credit.ppml", "--role", "bank", "--param", "weights.npz")
    assert wrong.stderr == "error: no parameters of this plan are bank's; they are bureau's\n"
    assert "no role 'shop'; it has bank, bureau" in mpcc(folder, "submit", "credit.ppml", "--role", "shop").stderr


def test_the_doctor_names_a_file_once(folder: Path) -> None:
    sick = mpcc(folder, "doctor", "none.ppml", "--cluster", "none.toml")
    assert sick.returncode == 1
    assert "BAD  none.toml: cannot be read: No such file" in sick.stdout
    assert "BAD  none.ppml: cannot be read: No such file" in sick.stdout
    assert "BAD  bad.ppml: 2 errors\n     help: mpcc check bad.ppml shows" in mpcc(folder, "doctor", "bad.ppml").stdout
    well = mpcc(folder, "doctor", "credit.ppml")
    assert well.returncode == 0
    assert "ok   credit.ppml: credit, plan " in well.stdout


def test_the_doctor_looks_for_every_package_that_is_needed() -> None:
    from compiler.cli.doctor import IMAGES, NEEDED

    text = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^dependencies = \[(.*?)^\]", text, re.S | re.M)
    assert listed is not None
    named = set(re.findall(r'"([a-z-]+)', listed[1])) - {"tomli"}  # of Python before 3.11
    assert {*NEEDED.values(), IMAGES[1]} == named
    for module in NEEDED:
        importlib.import_module(module)


def test_explain_says_what_checking_would_cost(folder: Path) -> None:
    head, limits = "model wide\nrole a, b\n", "in [-65536, 65536]\n"
    text = f"{head}input x : [2, 64] from a in [-4096, 4096]\nparam w : [64, 4] from b {limits}"
    (folder / "wide.ppml").write_text(text + "output y = x @ w to a\n")
    told = mpcc(folder, "explain", "wide.ppml").stdout
    assert "with --checked" in told and "  norm of x (line 3) at most" in told
    (folder / "wide.ppml").write_text(text + "y = exp(x @ w) in [0, 1]\noutput z = y to a\n")
    checking = json.loads(mpcc(folder, "explain", "--json", "wide.ppml").stdout)["checking"]
    assert checking["refused"] and all("cannot be checked" in message for message in checking["refused"])
    assert json.loads(mpcc(folder, "explain", "--json", "credit.ppml").stdout)["checking"] is None


def test_explain_explains_its_protocols(folder: Path) -> None:
    text = mpcc(folder, "explain", "credit.ppml").stdout
    assert "masked product  multiplies under masks" in text
    assert "sample table" not in text
    cost = json.loads(mpcc(folder, "explain", "credit.ppml", "--json").stdout)["cost"]
    assert {name for op in cost["per_op"] for name in op["protocol"].split(", ") if name} == cost["protocols"].keys()


@pytest.fixture
def servers(folder: Path) -> Iterator[dict[str, subprocess.Popen[str]]]:
    made = mpcc(folder, "init-cluster", "credit.ppml", "--port", free_port())
    assert "mpcc party 0 credit.ppml" in made.stdout
    with started(folder, "credit.ppml") as processes:
        yield processes


def test_five_terminals(folder: Path, servers: dict[str, subprocess.Popen[str]]) -> None:
    given = typed(folder, "provide", "credit.ppml", "--param", "weights.npz")
    assert (given.returncode, given.stdout) == (0, "p0 and p1 hold the parameters of bureau\n"), given.stderr
    done = typed(folder, "submit", "credit.ppml", "--input", "x=x.npy", "--output", "score=score.npy")
    assert done.returncode == 0, done.stderr
    assert np.allclose(np.load(folder / "score.npy"), X @ W, atol=1e-3)

    other = mpcc(folder, "submit", "credit.ppml", "--dim", "batch=3", "--input", "x=x.npy")
    assert other.returncode == 1
    assert "start both from the same plan" in other.stderr
    wrong_key = mpcc(folder, "submit", "credit.ppml", "--key", "p0.key", "--input", "x=x.npy")
    assert "does not list" in wrong_key.stderr
    busy = mpcc(folder, "party", "1", "credit.ppml")
    assert busy.returncode == 1
    assert "cluster.toml:9: p1's address" in busy.stderr
    assert mpcc(folder, "doctor", "credit.ppml", "--cluster", "cluster.toml").returncode == 0

    servers["p1"].send_signal(signal.SIGTERM)
    codes = {name: process.wait(SECONDS) for name, process in servers.items()}
    assert codes == {"p1": 130, "p0": 1, "dealer": 1}
    for name in ("p0", "dealer"):
        assert "p1 was stopped" in (folder / f"{name}.log").read_text()


def test_stored_material_from_dealing_to_its_end(folder: Path) -> None:
    """Two parties without a dealer, stopped and started, with material added; and what an operator asks of it."""
    (folder / "one.ppml").write_text(MODEL.replace("batch = 2", "batch = 5"))
    dealt = json.loads(mpcc(folder, "deal", "one.ppml", "--runs", "9", "-o", "material", "--json").stdout)
    assert (dealt["runs"], dealt["setups"], dealt["path"]) == (9, 1, "material")
    again = mpcc(folder, "deal", "one.ppml", "--runs", "9", "-o", "material")
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    text = mpcc(folder, "deal", "one.ppml", "--runs", "3", "--setups", "2", "-o", "more")
    assert text.stdout.startswith("dealt 2 times 3 runs of credit in") and "as secret as a key" in text.stderr

    mpcc(folder, "init-cluster", "one.ppml", "--port", free_port())
    submit = ["submit", "one.ppml", "--input", "x=x.npy", "--output", "score=score.npy"]
    for start in range(2):
        with started(folder, "one.ppml", "material") as servers:
            if start == 0:
                assert mpcc(folder, "provide", "one.ppml", "--param", "weights.npz").returncode == 0
            done = mpcc(folder, *submit)
            assert done.returncode == 0, done.stderr
            assert np.allclose(np.load(folder / "score.npy"), X @ W, atol=1e-3)
            used = mpcc(folder, "party", "0", "one.ppml", "--material", "material/p0")
            assert (used.returncode, "another process uses this store" in used.stderr) == (1, True)
            servers["p0"].send_signal(signal.SIGTERM)
            assert {name: process.wait(SECONDS) for name, process in servers.items()} == {"p0": 130, "p1": 1}
    found = json.loads(mpcc(folder, "store", "status", "material/p1", "--json").stdout)
    assert (found["setup"], found["parameters"], found["dealings"][0]["used"]) == (0, ["bureau"], 3)
    assert "left: " in mpcc(folder, "store", "status", "material/p1").stdout

    for name in ("p0", "p1"):
        assert mpcc(folder, "store", "add", f"material/{name}", f"more/{name}").stdout.endswith("8 records more\n")
        assert mpcc(folder, "store", "verify", f"material/{name}").returncode == 0
    last = json.loads(mpcc(folder, "store", "status", "material/p0", "--json").stdout)["dealings"][-1]["id"]
    file = next((folder / "material/p0").glob(f"records-{last}-*"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    wrong = mpcc(folder, "store", "verify", "material/p0", "--json")
    assert wrong.returncode == 1 and len(json.loads(wrong.stdout)["wrong"]) == 1
    file.write_bytes(whole)

    burnt = mpcc(folder, "store", "burn", "material/p0", "--to", "14", "--json")
    assert json.loads(burnt.stdout)["burnt"] == 14 - found["next"]
    assert mpcc(folder, "store", "prune", "material/p0").stdout.endswith("given back\n")
    with started(folder, "one.ppml", "material"):
        assert mpcc(folder, *submit).returncode == 0
    for words in (("party", "0", "one.ppml", "--material", "material/p1"), ("store", "status", "nowhere")):
        assert mpcc(folder, *words).stderr.startswith("error: ")


def test_keygen_writes_the_secret_and_prints_the_public_half(folder: Path) -> None:
    from mpc_runtime.deployment.keys import load_key
    from mpc_runtime.transport.identity import fingerprint

    made = mpcc(folder, "keygen", "client")
    public = load_key(folder / "client.key").public
    assert made.stdout.strip() == public
    assert f"fingerprint: {fingerprint(public)}" in made.stderr
    assert mpcc(folder, "keygen", "client").returncode == 1
    assert mpcc(folder, "keygen", "").returncode == 2 and not (folder / ".key").exists()


def test_a_cluster_of_public_keys_that_three_administrators_have_made(folder: Path, tmp_path: Path) -> None:
    from mpc_runtime.deployment.cluster import load_cluster
    from mpc_runtime.transport.identity import fingerprint

    names = ("p0", "p1", "dealer", "bank")
    keys = {name: mpcc(tmp_path, "keygen", name).stdout.strip() for name in names}
    servers = [f"{name}={name}.example.org:7100,{keys[name]}" for name in names[:3]]
    given = [word for server in servers for word in ("--server", server)]
    made = mpcc(
        folder,
        "init-cluster",
        "credit.ppml",
        "-o",
        tmp_path / "cluster.toml",
        *given,
        "--role",
        f"bank={keys['bank']}",
    )
    assert made.returncode == 0, made.stderr
    for name in names:
        assert f"{name}: {fingerprint(keys[name])}" in made.stdout
    assert load_cluster(tmp_path / "cluster.toml").roles == {"bank": (keys["bank"],), "bureau": ()}
    assert sorted(file.name for file in tmp_path.glob("*.key")) == sorted(f"{name}.key" for name in names)
    for wrong in (given[2:], [*given, "--port", "7100"], [*given[:-1], "dealer=dealer.example.org:7100"]):
        assert mpcc(folder, "init-cluster", "credit.ppml", "-o", tmp_path / "other.toml", *wrong).returncode == 2
    done = mpcc(folder, "init-cluster", "credit.ppml", "-o", tmp_path / "other.toml", *given, "--role", "x=y")
    assert done.returncode == 1 and "with a role of the plan" in done.stderr


def test_interrupting_run_ends_everything_and_keeps_what_is_done(folder: Path) -> None:
    (folder / "slow.ppml").write_text(MODEL.replace("x @ w", "x @ w * (batch / 2)"))  # another batch is another model
    x = np.random.default_rng(0).uniform(-4, 4, (50_000, 3))
    np.save(folder / "many.npy", x)
    terminal, stderr = os.openpty()
    words = ["run", "slow.ppml", "--param", "weights.npz", "--input", "x=many.npy", "--output", "score=done.npy"]
    process = subprocess.Popen(
        command(*words), cwd=folder, env={**environment(), "TERM": "xterm"}, stderr=stderr, start_new_session=True
    )
    os.close(stderr)
    seen = shown = b""
    while b"/50000" not in seen:  # the progress bar is there
        seen += os.read(terminal, 4096)
    os.killpg(process.pid, signal.SIGINT)
    with suppress(OSError):  # the end of a terminal
        while shown := os.read(terminal, 4096):
            seen += shown
    os.close(terminal)
    assert process.wait(SECONDS) == 130
    assert b"interrupted" in seen and b"written of score: the first " in seen
    assert b"Traceback" not in seen
    done = np.load(folder / "done.npy")
    assert 0 < len(done) < 50_000
    assert np.allclose(done, x[: len(done)] @ W, atol=1e-3)


def test_a_submission_that_would_be_faster_in_larger_batches_says_so(
    folder: Path, servers: dict[str, subprocess.Popen[str]]
) -> None:
    np.save(folder / "many.npy", np.zeros((1000, 3)))
    mpcc(folder, "provide", "credit.ppml", "--param", "weights.npz")
    done = mpcc(folder, "submit", "credit.ppml", "--input", "x=many.npy", "--output", "score=score.npy")
    assert done.returncode == 0, done.stderr
    assert "warning: 1000 rows take 500 runs of the plan, which is compiled for a batch of 2" in done.stderr
    assert "--dim batch=1024" in done.stderr
    assert (np.load(folder / "score.npy") == 0).all()
