"""Ids of rows: compared within a session, and between machines by a hash under a key that the servers do not know."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.roles.ids import check_ids

KEY = "a key that only roles know"
ROLES = ("clinic", "lab")


def test_what_is_said_is_of_the_list_in_its_order_and_of_the_key() -> None:
    said = {
        check_ids(ids, key, ROLES, 3, key == "")
        for ids in (["a", "b", "c"], ["a", "c", "b"], ["ab", "", "c"], [1, 2, 3])
        for key in (KEY, KEY + "!")
    }
    assert len(said) == 8 and all(len(each) == 64 for each in said)
    assert check_ids(np.array([1, 2, 3]), KEY, ROLES, 3, False) == check_ids(["1", "2", "3"], KEY, ("lab",), 3, False)


@pytest.mark.parametrize(
    "ids",
    [[np.int64(1), np.int32(2), 3], (1, 2, 3), np.array(["1", "2", "3"]), list(np.array(["1", "2", "3"])), range(1, 4),
     np.array([[1], [2], [3]]), np.array([1, "2", 3], object)],
)  # fmt: skip
def test_a_list_may_be_anything_in_an_order(ids) -> None:
    assert check_ids(ids, KEY, ("lab",), 3, False) == check_ids([1, 2, 3], KEY, ("lab",), 3, False)


def test_without_ids_nothing_is_said() -> None:
    assert check_ids(None, None, ROLES, 3, False) == ""


@pytest.mark.parametrize(
    ("ids", "key", "alone", "message"),
    [
        ({"clinic": ["a", "b", "c"], "lab": ["a", "x", "y"]}, None, True, "row 1 of lab is not that of clinic"),
        (["a", "b"], None, True, "one for each row of clinic, which has 3, found 2"),
        (["a", 1.5, "c"], None, True, "texts or whole numbers, found float for row 1 of clinic"),
        (["a", True, "c"], None, True, "texts or whole numbers, found bool for row 1 of clinic"),
        (["a", np.float64(1), "c"], None, True, "texts or whole numbers, found float64 for row 1 of clinic"),
        (5, None, True, "expected a list for the rows of clinic, in their order, found int"),
        (np.array(5), None, True, "expected a list for the rows of clinic, in their order, found ndarray"),
        ({"clinic": 7, "lab": [1, 2, 3]}, None, True, "a list for the rows of clinic, in their order, found int"),
        ("abc", None, True, "expected a list for the rows of clinic, in their order, found str"),
        (iter(["a", "b", "c"]), None, True, "in their order, found list_iterator"),
        (b"abc", None, True, "found bytes"),
        ({"a", "b", "c"}, None, True, "in their order, found set"),
        ({"clinic": {"a": 1, "b": 2, "c": 3}, "lab": [1, 2, 3]}, None, True, "in their order, found dict"),
        ({"nurse": ["a", "b", "c"]}, None, True, "nurse brings no rows here; expected clinic or lab"),
        ({"clinic": ["a", "b", "c"]}, None, True, "expected those of clinic and lab, found none of lab"),
        ({}, None, True, "expected those of clinic and lab, found none of clinic and lab"),
        (["a", "b", "c"], None, False, "give `ids_key`, a text that all roles know and no server does"),
        (["a", "b", "c"], "short", False, "expected a text of at least 16 characters"),
        (None, KEY, False, "it is a key for `ids`, found no ids"),
    ],
)
def test_what_does_not_fit_is_refused_and_names_no_id(ids, key, alone, message) -> None:
    with pytest.raises(mpc.InputError, match=message) as caught:
        check_ids(ids, key, ROLES, 3, alone)
    assert not {"'a'", "'b'", "'x'", KEY} & set(str(caught.value).split())
