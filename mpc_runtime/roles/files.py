"""Reading and writing arrays by file name: `.npy .npz .csv .safetensors` and images; and weights files against a plan.

Images (a file, or a folder of them in the order of their names) become [n, channels, height, width] in 0…1; gray ones
have one channel, others three, and transparency is left out. `encoding/fixed_point.py` checks values against what the
plan declares.
"""

from __future__ import annotations

import difflib
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..encoding.arrays import check_keys
from ..errors import InputError

__all__ = ["check_writable", "match_names", "parameters", "read", "read_many", "write"]

Array = np.ndarray

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
FOREIGN = {
    (".pt", ".pth", ".ckpt"): "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')",
    (".h5", ".keras"): "np.savez('weights.npz', **{'fc1.weight': layer.get_weights()[0].T, …})",
    (".pkl", ".pickle", ".joblib"): "np.savez('weights.npz', **{'fc1.weight': …})",
}
"""Files of other systems, which take that system to read; and what it writes instead."""

READABLE = ".npy .npz .csv .safetensors or an image"
WRITABLE = ".npy .npz .csv .safetensors"
TABLE = ".csv"
OTHER_SIGNS = (";", "\t", " ")  # that stand between numbers elsewhere
OF_ONE = (".npy", TABLE)  # of which a file holds one array
SHOWN_NAMES = 6  # of a plan, where one of its names was meant
STAYS_HOME = "num_batches_tracked"  # PyTorch saves it with a batchnorm; no model uses it


def read(path: str | os.PathLike[str], axes: int | None = None) -> Array:
    """The one array in a file; InputError when the file holds several, or cannot be read. axes: how many are expected,
    if that is known: a `.csv` is a table, which may be an array of one axis if it is one row or column, and of none if
    it is one entry."""
    arrays = read_many(path)
    if len(arrays) != 1:
        raise InputError(f"{path}: expected one array, found {len(arrays)} ({', '.join(arrays)})")
    array = next(iter(arrays.values()))
    if Path(path).suffix.lower() != TABLE or axes not in (0, 1) or sum(n > 1 for n in array.shape) > axes:
        return array
    return array.reshape((-1,) * axes)


def read_many(path: str | os.PathLike[str]) -> dict[str, Array]:
    """All arrays in a file by name; a file of one array gives it the file's own name."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    try:
        return _read(path)
    except InputError:
        raise
    except Exception as error:  # whatever a parser makes of a damaged file
        raise InputError(f"{path}: cannot be read as {path.suffix or 'a folder of images'}: {error}") from None


def _read(path: Path) -> dict[str, Array]:
    suffix = path.suffix.lower()
    if path.is_dir() or suffix in IMAGES:
        return {path.stem: _images(path)}
    if suffix == ".npy":
        with path.open("rb") as file:
            return {path.stem: np.lib.format.read_array(file, allow_pickle=False)}
    if suffix == ".npz":
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no archive, as np.savez writes")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    if suffix == ".safetensors":
        return _safetensors(path)
    if suffix == TABLE:
        return {path.stem: _csv(path)}
    saves = next((f"; save it there: {how}" for suffixes, how in FOREIGN.items() if suffix in suffixes), "")
    raise InputError(f"{path}: expected {READABLE}, found {suffix or 'no extension'}{saves}")


def _safetensors(path: Path) -> dict[str, Array]:
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
        # with the package ml_dtypes, NumPy has the short types of others, whose values are all float32's too
        return {
            name: array if array.dtype.isbuiltin == 1 else array.astype(np.float32) for name, array in found.items()
        }
    except TypeError as error:  # of a type of number that NumPy does not have
        raise InputError(f"{path}: {error}; save it as float32, as model.float().state_dict() is") from None


def _csv(path: Path) -> Array:
    """Numbers separated by commas, one row a line; a first line without any number is a heading."""
    with path.open(encoding="utf-8-sig") as file:
        first, second = file.readline(), file.readline()
        more = any(line.strip() for line in (second, *file))
    for line, sign in ((line, sign) for line in (first, second) for sign in OTHER_SIGNS if sign in line):
        if all(map(_is_number, line.split(sign))):
            raise ValueError(f"expected commas between numbers, found {line.strip()!r}")
    cells = first.split(",")
    numbers = sum(map(_is_number, cells))
    if 0 < numbers < len(cells):  # a row with a slip, which must not be taken for a heading and left out
        bad = next(cell.strip() for cell in cells if not _is_number(cell))
        raise ValueError(f"expected numbers in the first line, or names alone, found {bad!r} beside numbers")
    if not numbers and not more:
        raise ValueError(f"expected numbers separated by commas, found {first.strip()!r}")
    return np.loadtxt(path, delimiter=",", skiprows=int(not numbers), ndmin=2, encoding="utf-8-sig")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _images(path: Path) -> Array:
    try:
        from PIL import Image
    except ImportError:
        raise InputError(f"{path}: reading images needs Pillow: pip install pillow") from None
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: expected image files, found none")
    arrays = []
    for file in files:
        with Image.open(file) as image:
            gray = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
            if image.mode.startswith("I"):  # 16 bits, which `convert` would cut at 255
                pixels = np.asarray(image, np.float64) / 65535
            else:
                pixels = np.asarray(image.convert("L" if gray else "RGB"), np.float64) / 255
        arrays.append(pixels[None] if gray else pixels.transpose(2, 0, 1))
        if arrays[-1].shape != arrays[0].shape:
            raise InputError(
                f"{file}: expected the shape of {files[0].name}, {arrays[0].shape}, found {arrays[-1].shape}"
            )
    return np.stack(arrays)


def check_writable(path: str | Path, count: int) -> None:
    """InputError for a file to which `write` could not write so many arrays, before work is done in vain."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITABLE.split():
        raise InputError(f"{path}: expected {WRITABLE}, found {path.suffix or 'no extension'}")
    if suffix in OF_ONE and count != 1:
        raise InputError(f"{path}: a {suffix} file holds one array, not {count}; use .npz or .safetensors")
    if not path.parent.is_dir():
        raise InputError(f"{path}: cannot be written: there is no folder {path.parent}")
    if path.is_dir():
        raise InputError(f"{path}: cannot be written: it is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{path}: cannot be written: Permission denied")


def write(path: str | Path, arrays: Mapping[str, Array]) -> None:
    """Writes arrays by extension; `.npy` and `.csv` hold one."""
    check_writable(path, len(arrays))
    path = Path(path)
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            (one,) = arrays.values()
            np.save(path, one)
        elif suffix == ".npz":
            np.savez(path, **dict(arrays))  # type: ignore[arg-type]  # NumPy's own flag is among the keywords
        elif suffix == TABLE:
            (one,) = arrays.values()
            table = np.asarray(one).reshape(len(one) if one.ndim else 1, -1)
            np.savetxt(path, table, delimiter=",", fmt="%.17g" if one.dtype.kind == "f" else "%d")
        else:
            from safetensors.numpy import save_file

            save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def parameters(weights: object, rename: Mapping[str, str], known: Iterable[str], *, strict: bool) -> dict[str, Any]:
    """Parameters from a file or a mapping, with the first parts of their names replaced: {"0": "conv1"} makes
    `0.weight` `conv1.weight`. With strict=False unknown names are left out."""
    if not isinstance(weights, (str, os.PathLike, Mapping)):
        more = "; of a PyTorch module give module.state_dict()" if hasattr(weights, "state_dict") else ""
        raise InputError(f"expected a weights file or a dict of arrays, found {type(weights).__name__}{more}")
    given = dict(weights) if isinstance(weights, Mapping) else dict(read_many(weights))
    check_keys(given, "parameters")
    renamed = _renamed(given, rename)
    names = set(known)
    return {
        name: value
        for name, value in renamed.items()
        if name in names or (strict and name.rpartition(".")[2] != STAYS_HOME)
    }


def _renamed(given: Mapping[str, Any], rename: Mapping[str, str]) -> dict[str, Any]:
    """The values under their new names, each by the longest first part that is replaced. InputError for two that would
    have one name."""
    if not isinstance(rename, Mapping) or not all(isinstance(part, str) for pair in rename.items() for part in pair):
        raise InputError(f'rename: expected a dict such as {{"0": "conv1"}}, found {rename!r}')
    found: dict[str, Any] = {}
    before: dict[str, str] = {}
    for name, value in given.items():
        old = max((each for each in rename if f"{name}.".startswith(f"{each}.")), key=len, default=None)
        new = name if old is None else rename[old] + name[len(old) :]
        if new in found:
            raise InputError(f"rename: both {before[new]!r} and {name!r} would be {new!r}; leave one of them out")
        found[new], before[new] = value, name
    return found


def match_names(
    given: Iterable[str],
    wanted: Mapping[str, tuple[int, ...]],
    what: str,
    elsewhere: Callable[[str], str] = lambda name: "",
) -> list[str]:
    """What is missing and what is unknown, a line each. wanted: name -> shape. elsewhere: says whose or what a name is
    that is not wanted here, "" if nobody's."""
    have = list(given)
    missing = [name for name in wanted if name not in have]
    unknown = [name for name in have if name not in wanted]
    return [
        *(f"{name}: missing; expected shape {list(wanted[name])}" for name in missing),
        *(f"{name}: {elsewhere(name) or f'no such {what}; {_likely(name, missing, wanted)}'}" for name in unknown),
    ]


def _likely(name: str, missing: Sequence[str], wanted: Iterable[str]) -> str:
    """What a name that is not wanted may have been meant for."""
    names = list(wanted)
    lead, _, rest = name.partition(".")
    close = difflib.get_close_matches(name, names, 1)
    if close and not lead.isdigit():  # numbers are PyTorch's for the layers of a bare Sequential
        return f"did you mean {close[0]!r}?"
    for other in missing:
        better, dot, end = other.partition(".")
        if dot and end == rest:
            return f"if it is {other}, rename {lead} to {better}"
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return f"the plan has {', '.join(names[:SHOWN_NAMES]) or 'none'}{more}"
