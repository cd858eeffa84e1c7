"""What users pass as arrays: what is taken, what is refused, and whether the hint that they get mends their mistake."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from mpc_runtime.encoding.arrays import as_array, shape_problem
from mpc_runtime.encoding.fixed_point import check
from mpc_runtime.errors import InputError

IMAGES = ("batch", "", "", "")


class Tensor:
    """As PyTorch's: NumPy gets it only without a gradient, and only from this machine's memory."""

    def __init__(
        self, values: Any, *, requires_grad: bool = False, device: str = "cpu", dtype: str = "float32"
    ) -> None:
        self.values, self.requires_grad, self.device, self.dtype = values, requires_grad, device, f"torch.{dtype}"

    def detach(self) -> Tensor:
        return Tensor(self.values, device=self.device, dtype=self.dtype.removeprefix("torch."))

    def cpu(self) -> Tensor:
        return Tensor(self.values, requires_grad=self.requires_grad, dtype=self.dtype.removeprefix("torch."))

    def float(self) -> Tensor:
        return Tensor(self.values, requires_grad=self.requires_grad, device=self.device)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if self.device != "cpu" or self.dtype == "torch.bfloat16":
            raise TypeError("can't convert this tensor to numpy")
        return np.array(self.values, self.dtype.removeprefix("torch."))


@pytest.mark.parametrize(
    "value",
    [
        [[0.5, 1], [0, 0.25]],
        np.array([[0.5, 1], [0, 0.25]], np.float16),
        np.array([[0.5, 1], [0, 0.25]], object),
        np.array([[Decimal("0.5"), np.bool_(True)], [0, Fraction(1, 4)]], object),
        np.ma.masked_array([[0.5, 1], [0, 0.25]]),
        Tensor([[0.5, 1], [0, 0.25]], requires_grad=True),
        Tensor([[0.5, 1], [0, 0.25]], requires_grad=True, device="cuda:0"),
        Tensor([[0.5, 1], [0, 0.25]], requires_grad=True, dtype="bfloat16"),
    ],
)
def test_arrays_are_taken_as_they_come(value: Any) -> None:
    array = as_array("x", value)
    assert array.dtype.kind == "f"
    assert array.tolist() == [[0.5, 1], [0, 0.25]]
    assert check("x", value, "fixed", (2, 2), 0, 1, 16).tolist() == [[0.5, 1], [0, 0.25]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("digits.npy", r"x: expected numbers, found the text 'digits.npy'; read a file first, as np.load does"),
        (None, r"x: expected a number, found None"),
        ([[1, 2], [3]], r"x: expected an array of numbers, found rows of different lengths"),
        ([[1.0, None]], r"x\[0, 1\]: expected a number, found None"),
        (np.array([[1.5, "red"]], object), r"x\[0, 1\]: expected a number, found 'red'"),
        ({"a": 1}, r"x: expected a number, found dict"),
        ([10**400], r"x: expected numbers, found one that is too large"),
        (np.ma.masked_array([1.0, 2.0], [False, True]), r"x: expected numbers, found masked entries; fill them first"),
    ],
)
def test_what_holds_no_numbers_is_named(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_array("x", value)


def test_a_sparse_matrix_is_not_taken_for_a_number() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(InputError, match=r"found csr_matrix.*make it dense first: value\.toarray\(\)"):
        as_array("x", sparse.csr_matrix(np.eye(2)))


@pytest.mark.parametrize(
    ("name", "expected", "found", "dims", "kind", "cure"),
    [
        ("image", (1, 1, 28, 28), (1, 28, 28), IMAGES, "fixed", "image[None]"),
        ("image", (1, 3, 28, 28), (1, 28, 28, 3), IMAGES, "fixed", "np.moveaxis(image, -1, 1)"),
        ("image", (1, 3, 28, 20), (28, 20, 3), IMAGES, "fixed", "np.moveaxis(image, -1, 0)[None]"),
        ("image", (8, 1, 28, 28), (8, 28, 28), IMAGES, "fixed", "image[:, None]"),
        ("image", (8, 1, 28, 28), (8, 784), IMAGES, "fixed", "np.reshape(image, [8, 1, 28, 28])"),
        ("image", (1, 1, 28, 28), (28, 28), IMAGES, "fixed", "np.reshape(image, [1, 1, 28, 28])"),
        ("fc.weight", (10, 784), (784, 10), ("", ""), "fixed", "weight.T"),
        ("conv.weight", (16, 3, 5, 4), (5, 4, 3, 16), ("",) * 4, "fixed", "np.moveaxis(weight, [-1, -2], [0, 1])"),
        ("age", (100, 1), (100,), ("batch", ""), "fixed", "np.reshape(age, [100, 1])"),
        ("label", (32,), (32, 10), ("batch",), "int", "np.argmax(label, axis=-1)"),
    ],
)
def test_the_hint_about_a_shape_makes_it_right(
    name: str, expected: tuple[int, ...], found: tuple[int, ...], dims: tuple[str, ...], kind: str, cure: str
) -> None:
    message = shape_problem(name, expected, found, dims, kind)
    assert message.startswith(f"{name}: expected shape {list(expected)}, found {list(found)}; ")
    assert message.endswith(cure)
    values = np.zeros(found)
    mended = eval(cure, {"np": np, name.rpartition(".")[2]: values})
    assert mended.shape == expected
    with pytest.raises(InputError) as refused:
        check(name, values, kind, expected, -1, 1, 16, dims)
    assert str(refused.value) == message


def test_a_mended_kernel_has_its_entries_in_their_places() -> None:
    kernel = np.arange(5 * 4 * 3 * 2).reshape(5, 4, 3, 2)
    assert (np.moveaxis(kernel, [-1, -2], [0, 1]) == kernel.transpose(3, 2, 0, 1)).all()


def test_rows_that_the_plan_is_not_for() -> None:
    def hint(*found: int, many: str = "") -> str:
        return shape_problem("x", (8, 3), found, ("batch", ""), many=many).partition("; ")[2]

    compiles = 'dims={"batch": 500} compiles for so many'
    assert hint(500, 3) == compiles
    assert hint(500, 3, many="run_batches") == f"run_batches takes any number of rows, and {compiles}"
    assert hint(500, 3, many="fit") == f"fit takes any number of rows, and {compiles}"
    assert hint(5, 3, many="fit") == 'dims={"batch": 5} compiles for so many'
    assert hint(3, many="run_batches") == "one row? the plan is for 8; run_batches takes any number of them: x[None]"
    assert hint(3, many="fit") == hint(3) == "one row? the plan is for 8"
    both = shape_problem("x", (1, 3, 28, 28), (500, 28, 28, 3), IMAGES, many="run_batches")
    assert "np.moveaxis(x, -1, 1); run_batches takes any number of rows" in both
    assert shape_problem("x", (8, 3), (0, 3), ("batch", "")).endswith("found [0, 3]; there are no rows")
    assert shape_problem("x", (8, 3), (7, 5), ("batch", "")) == "x: expected shape [8, 3], found [7, 5]"


def test_pixels_that_are_bytes() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 256)
    for values in (pixels, pixels.astype(np.float32)):
        with pytest.raises(InputError, match=r"\(and 253 more\); pixels from 0 to 255\? divide by 255"):
            check("x", values, "fixed", (1, 256), 0, 1, 16)
        assert check("x", values / 255, "fixed", (1, 256), 0, 1, 16).max() == 1
    for values, hi in ((pixels * 0.37, 1), (pixels, 8), (pixels - 300.0, 1)):
        with pytest.raises(InputError) as refused:
            check("x", values, "fixed", (1, 256), 0, hi, 16)
        assert "pixels" not in str(refused.value)
    with pytest.raises(InputError) as refused:
        check("w", pixels, "fixed", (1, 256), 0, 1, 16, measured=False)
    assert "pixels" not in str(refused.value)


def test_missing_numbers_are_counted() -> None:
    with pytest.raises(InputError, match=r"x\[1\]: expected a finite number, found nan \(and 1 more\)"):
        check("x", [0.0, np.nan, np.inf], "fixed", (3,), 0, 1, 16)
