"""Classical models and large networks: the private answers are the plaintext answers, within one row in a thousand.

Large networks are made small by their dims. What every program passes on its way to processes is tested elsewhere.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from safetensors.numpy import load_file

import mpc_runtime as mpc
from examples.classical.demo import MODELS, parameters
from examples.networks.demo import generate
from examples.networks.draw import inputs, weights
from tests.examples.test_examples import FOLDER

SMALL = {"positions": 8, "blocks": 1, "width": 16, "hidden": 32, "heads": 2, "words": 20}
LEAST = 0.999
CLOSE = 2e-3


@pytest.mark.parametrize("model", MODELS)
def test_classical_models_judge_as_plaintext_and_as_scikit_learn(model: str) -> None:
    data = np.load(FOLDER / "classical" / "classical.npz")
    program = mpc.compile(FOLDER / "classical" / f"{model}.ppml", dims={"batch": len(data["wine"])})
    found = program.simulate({"wine": data["wine"]}, parameters(model))
    ((name, private),) = found.results.items()
    assert not found.violations
    if model == "pca":
        assert np.allclose(private, found.reference[name], atol=CLOSE)
        assert np.allclose(private, data["pca/said"], atol=CLOSE)
    else:
        assert (private == found.reference[name]).mean() >= LEAST
        assert (private == data[f"{model}/said"]).mean() >= LEAST


def test_the_digit_alone_is_the_plaintext_digit() -> None:
    data = np.load(FOLDER / "digits" / "digits.npz")
    image = data["image"][:100] / data["levels"]
    program = mpc.compile(FOLDER / "digits" / "label.ppml", dims={"batch": len(image)})
    found = program.simulate({"image": image}, load_file(FOLDER / "digits" / "digits.safetensors"))
    assert (found.results["digit"] == found.reference["digit"]).mean() >= LEAST


@pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")
def test_an_encoder_scores_as_plaintext() -> None:
    program = mpc.compile(FOLDER / "networks" / "encoder.ppml", dims=SMALL)
    params = weights(program)
    program = mpc.calibrate(program, params=params, inputs=inputs(program, rows=4))
    assert program.warnings == ()
    found = program.simulate(inputs(program, seed=5), params)
    assert np.allclose(found.results["scores"], found.reference["scores"], atol=5e-3)


@pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning", "ignore::mpc_runtime.PromiseWarning")
def test_a_decoder_completes_as_plaintext() -> None:
    program = mpc.compile(FOLDER / "networks" / "decoder.ppml", dims=SMALL)
    params, prompt = weights(program), [7, 3]
    with mpc.launch(program) as session:
        session.provide(params)
        private = generate(session.run, prompt, 3, SMALL["positions"])
    assert private == generate(partial(program.reference, params=params), prompt, 3, SMALL["positions"])


@pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")
@pytest.mark.parametrize("side", [32, pytest.param(224, marks=pytest.mark.slow)])
def test_resnet_compiles_with_torchvisions_names(side: int) -> None:
    program = mpc.compile(FOLDER / "networks" / "resnet18.ppml", dims={"side": side, "classes": 10})
    names = {t.name: t.shape for t in program.plan.params}
    assert len(names) == 102  # without num_batches_tracked, which stays at home
    assert names["layer2.0.downsample.0.weight"] == (128, 64, 1, 1) and names["layer4.1.bn2.running_var"] == (512,)
