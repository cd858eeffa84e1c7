"""The ids of rows, by which roles make sure that they bring the same rows in the same order.

Rows of several roles belong together by their position. Roles that know their rows by ids give them to `fit`: nothing
of them leaves the machine but a hash of the whole list. Between machines it is made under a key that the roles share
and the servers do not know: otherwise a server could try out which list it is of.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any

import numpy as np

from ..errors import InputError

__all__ = ["LEAST_KEY", "check_ids"]

LEAST_KEY = 16
"""Characters of a key: it should be drawn, as by `python -c "import secrets; print(secrets.token_hex(16))"`."""

Ids = Sequence[Any] | np.ndarray


def check_ids(
    ids: Ids | Mapping[str, Ids] | None, key: str | None, roles: Sequence[str], rows: int, alone: bool
) -> str:
    """What is said of the ids to others; empty where none are given.

    Args:
        ids: Those of the session's roles, or of each of them, by role: text or whole numbers, one for each row.
        roles: Those of the session that bring rows.
        rows: How many rows they bring.
        alone: Whether no other machine brings rows.

    Raises:
        InputError: Where lists differ, do not fit the rows, or have no key that they need.
    """
    if ids is None:
        if key is not None:
            raise InputError("ids_key: it is a key for `ids`, found no ids")
        return ""
    lists = ids if isinstance(ids, Mapping) else dict.fromkeys(roles, ids)
    if unknown := [role for role in lists if role not in roles]:
        raise InputError(f"ids: {unknown[0]} brings no rows here; expected {' or '.join(roles) or 'none'}")
    if missing := [role for role in roles if role not in lists]:
        raise InputError(f"ids: expected those of {' and '.join(roles)}, found none of {' and '.join(missing)}")
    texts = {role: _texts(each, role, rows) for role, each in lists.items()}
    first, *others = texts
    for role in others:
        if texts[role] != texts[first]:
            row = next(i for i in range(rows) if texts[role][i] != texts[first][i])
            raise InputError(f"ids: row {row} of {role} is not that of {first}; bring the same rows in the same order")
    if key is None and not alone:
        raise InputError(
            "ids: other machines bring rows too; give `ids_key`, a text that all roles know and no server does"
        )
    if key is not None and not (isinstance(key, str) and len(key) >= LEAST_KEY):
        raise InputError(f"ids_key: expected a text of at least {LEAST_KEY} characters")
    return _digest(texts[first], key or "")


def _texts(ids: Ids, role: str, rows: int) -> list[str]:
    listed = isinstance(ids, Collection) and not isinstance(ids, (str, bytes, Mapping, Set))
    if not listed or (isinstance(ids, np.ndarray) and not ids.ndim):
        raise InputError(f"ids: expected a list for the rows of {role}, in their order, found {type(ids).__name__}")
    found = ids.ravel().tolist() if isinstance(ids, np.ndarray) else list(ids)
    if len(found) != rows:
        raise InputError(f"ids: expected one for each row of {role}, which has {rows}, found {len(found)}")
    for i, each in enumerate(found):
        if isinstance(each, bool) or not isinstance(each, (str, int, np.integer)):
            raise InputError(f"ids: expected texts or whole numbers, found {type(each).__name__} for row {i} of {role}")
    return [str(each) for each in found]


def _digest(texts: Sequence[str], key: str) -> str:
    found = hmac.new(key.encode(), b"ids of rows\0", hashlib.sha256)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()
