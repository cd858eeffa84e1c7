"""Files of arrays: what is written is read again; damaged and unknown files are refused with their name."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mpc_runtime.errors import InputError
from mpc_runtime.roles.files import match_names, parameters, read, read_many, write


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".safetensors"])
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_round_trip(tmp_path: Path, suffix: str, dtype: type) -> None:
    array = (np.arange(6).reshape(2, 3) / (3 if dtype is np.float64 else 1)).astype(dtype)
    path = tmp_path / f"x{suffix}"
    write(path, {"x": array})
    assert (read(path) == array).all()
    assert list(read_many(path)) == ["x"]


def test_a_csv_may_have_a_heading(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("age,height\n1,2.5\n3,4\n")
    assert read(path).tolist() == [[1, 2.5], [3, 4]]


@pytest.mark.parametrize(
    ("text", "axes", "shape"),
    [
        ("1\n2\n3\n", 1, (3,)),
        ("1,2,3\n", 1, (3,)),
        ("dose\n1\n2\n", 1, (2,)),
        ("7\n", 1, (1,)),
        ("7\n", 0, ()),
        ("dose\n7\n", 0, ()),
        ("1\n2\n3\n", 2, (3, 1)),
        ("1\n2\n3\n", None, (3, 1)),
        ("1,2\n3,4\n", 1, (2, 2)),  # what does not fit is for whoever knows the shape
        ("1,2\n", 0, (1, 2)),
        ("7\n", 3, (1, 1)),
    ],
)
def test_a_row_or_a_column_of_a_csv_is_an_array_of_one_axis(
    tmp_path: Path, text: str, axes: int | None, shape: tuple[int, ...]
) -> None:
    (tmp_path / "x.csv").write_text(text)
    found = read(tmp_path / "x.csv", axes)
    assert found.shape == shape and found.flat[0] in (1, 7)
    np.save(tmp_path / "x.npy", np.zeros((3, 1)))
    assert read(tmp_path / "x.npy", axes).shape == (3, 1), "an array that knows its axes keeps them"


@pytest.mark.parametrize(("text", "bad"), [("1,,3\n4,5,6\n", "''"), ("1,a\n2,3\n", "'a'"), ("n/a,2\n2,3\n", "'n/a'")])
def test_a_first_row_with_a_slip_is_no_heading(tmp_path: Path, text: str, bad: str) -> None:
    """It would be left out without a word."""
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=f"expected numbers in the first line, or names alone, found {bad} beside"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("text", ["1;2\n3;4\n", "age;height\n1;2\n", "1 2\n3 4\n", "age\theight\n1\t2\n"])
def test_numbers_that_something_else_separates_are_no_heading_and_no_riddle(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=r"expected commas between numbers, found '1.*2'"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors", "x.csv"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfebroken")
    with pytest.raises(InputError, match=f"{name}: cannot be read"):
        read(tmp_path / name)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "x.npy")


def test_unknown_extensions_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "x.xyz").write_text("")
    with pytest.raises(InputError, match=r"expected .npy .npz .csv .safetensors or an image, found .xyz"):
        read(tmp_path / "x.xyz")
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "y.npy")
    with pytest.raises(InputError, match="holds one array, not 2"):
        write(tmp_path / "x.npy", {"a": np.zeros(1), "b": np.zeros(1)})


def test_images_are_scaled_to_one(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for i, name in enumerate(("a.png", "b.png")):
        image.fromarray(np.full((4, 5), 51 * (i + 1), np.uint8)).save(tmp_path / name)
    whole = read(tmp_path)
    assert whole.shape == (2, 1, 4, 5)
    assert np.allclose(whole[:, 0, 0, 0], [0.2, 0.4])


def test_gray_images_have_one_channel_and_all_their_bits(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    values = np.array([[0, 255, 256], [300, 40000, 65535]])
    image.fromarray(values.astype(np.uint16)).save(tmp_path / "deep.png")
    assert np.abs(read(tmp_path / "deep.png") - values / 65535).max() < 1e-9
    shallow = (values % 256).astype(np.uint8)
    for mode, name in (("L", "l.png"), ("LA", "la.png"), ("L", "l.bmp")):
        image.fromarray(shallow).convert(mode).save(tmp_path / name)
        assert np.array_equal(read(tmp_path / name), shallow[None, None] / 255)
    colour = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    for mode in ("RGB", "RGBA"):
        image.fromarray(colour).convert(mode).save(tmp_path / "c.png")
        assert np.array_equal(read(tmp_path / "c.png"), colour.transpose(2, 0, 1)[None] / 255)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", ["", "\n", "not numbers", "age,height\n", "age,height\n\n"])
def test_a_table_without_numbers_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=r"x.csv: cannot be read as .csv: expected numbers separated by commas, found"):
        read(tmp_path / "x.csv")


def test_an_archive_that_is_none_is_not_called_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_text("weights")
    with pytest.raises(InputError, match=r"x.npz: cannot be read as .npz: it is no archive, as np.savez writes"):
        read(tmp_path / "x.npz")


def test_names_are_mended_and_batchnorm_counters_stay_home() -> None:
    given = {"0.weight": 1, "0": 2, "01.weight": 3, "bn.num_batches_tracked": 4}
    assert parameters(given, {"0": "conv1"}, ["conv1.weight"], strict=True) == {
        "conv1.weight": 1,
        "conv1": 2,
        "01.weight": 3,
    }
    assert parameters(given, {"0": "conv1"}, ["conv1.weight"], strict=False) == {"conv1.weight": 1}


def test_missing_and_unknown_names_are_listed_together() -> None:
    problems = match_names(["conv1.weigth"], {"conv1.weight": (2, 3), "b": ()}, "parameter")
    assert problems == [
        "conv1.weight: missing; expected shape [2, 3]",
        "b: missing; expected shape []",
        "conv1.weigth: no such parameter; did you mean 'conv1.weight'?",
    ]


def test_no_renamed_value_takes_the_place_of_another() -> None:
    given = {"a.w": 1, "b.w": 2, "b.c.w": 3}
    swapped = parameters(given, {"b.c": "c", "a": "b", "b": "a"}, [], strict=True)
    assert swapped == {"b.w": 1, "a.w": 2, "c.w": 3}, "the longest first part is replaced, whatever the order"
    assert parameters(given, {"b": "a", "b.c": "c", "a": "b"}, [], strict=True) == swapped
    with pytest.raises(InputError, match=r"rename: both 'a.w' and 'b.w' would be 'a.w'; leave one of them out"):
        parameters(given, {"b": "a"}, [], strict=True)
    for wrong in ([("a", "b")], {0: "conv1"}, {"a": None}, "a=b"):
        with pytest.raises(InputError, match=r'rename: expected a dict such as \{"0": "conv1"\}, found'):
            parameters(given, wrong, [], strict=True)  # type: ignore[arg-type]


def test_names_of_a_bare_sequential_are_renamed() -> None:
    wanted = {f"{layer}.{what}": (1,) for layer in ("conv1", "conv2", "fc") for what in ("weight", "bias")}
    problems = match_names(["0.weight", "x"], wanted, "parameter")
    assert problems[-2:] == [
        "0.weight: no such parameter; if it is conv1.weight, rename 0 to conv1",
        "x: no such parameter; the plan has conv1.weight, conv1.bias, conv2.weight, conv2.bias, fc.weight, fc.bias",
    ]
    assert "and 1 more" in match_names(["x"], {**wanted, "last": ()}, "parameter")[-1]


@pytest.mark.parametrize("suffix", ["pt", "PTH", "h5", "pkl"])
def test_files_of_other_systems_are_saved_anew(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"w.{suffix}").write_bytes(b"")
    with pytest.raises(InputError, match=r"save it there: .*weights\.(safetensors|npz)"):
        read(tmp_path / f"w.{suffix}")


def test_weights_are_a_file_or_a_mapping() -> None:
    class Module:
        def state_dict(self) -> dict[str, object]:
            return {}

    with pytest.raises(InputError, match=r"found Module; of a PyTorch module give module\.state_dict\(\)"):
        parameters(Module(), {}, [], strict=True)
    with pytest.raises(InputError, match="expected a weights file or a dict of arrays, found list"):
        parameters([1], {}, [], strict=True)


def test_numbers_that_numpy_does_not_have(tmp_path: Path) -> None:
    head = b'{"w":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    (tmp_path / "w.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + b"\x80?")
    if "ml_dtypes" in sys.modules:  # which onnx brings, and which gives NumPy that type
        assert read(tmp_path / "w.safetensors").tolist() == [1.0]
        return
    with pytest.raises(InputError, match=r"w\.safetensors: .*bfloat16.*save it as float32"):
        read(tmp_path / "w.safetensors")
