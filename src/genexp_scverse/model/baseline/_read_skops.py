"""Fitted estimators out of a ``.skops`` file, as plain values that are checked and put into estimators made anew.

skops makes the objects that a file names, and what is made of wrong numbers can read foreign memory. Here a file gives
numbers alone: classes, settings and sizes are those of the model that ``model.json`` describes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.calibration import CalibratedClassifierCV, _CalibratedClassifier, _SigmoidCalibration
from sklearn.ensemble._forest import BaseForest
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.tree._tree import Tree

from genexp_scverse._errors import InputError
from genexp_scverse.model.base._plain_arrays import plain_archive, read_array

_LARGEST_SCHEMA = 2**28
_CLASSES = np.array([0, 1])
"""Labels of every classifier: low and high."""


class State(NamedTuple):
    """What a file says of one object."""

    cls: str
    values: dict[str, Any]


def read_estimator(path: Path, untrained: Any, n_features: int) -> Any:
    """Fill an untrained estimator with what a file holds.

    Parameters
    ----------
    path
        The file.
    untrained
        Estimator of the class and with the settings that are expected.
    n_features
        Numbers of a (gene, sample) pair that it reads.

    Returns
    -------
    The estimator.

    Raises
    ------
    InputError
        When the file is damaged, is of another class, or holds numbers that no fit leaves.
    """
    with plain_archive(path) as archive:
        state = _read_state(archive)
    try:
        return _filled(untrained, state, n_features)
    except InputError as error:
        msg = f"{path} holds no {type(untrained).__name__} of this model ({error}): it is damaged, save the model again"
        raise InputError(msg) from None
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        why = " ".join(f"{type(error).__name__} {error}".split())[:200]
        msg = f"{path} is damaged, or of another version of scikit-learn ({why}): train the model again"
        raise InputError(msg) from None


def _read_state(archive: zipfile.ZipFile) -> Any:
    """Read the tree of nodes: lists, dictionaries, numbers, arrays and :class:`State`; nothing is made of a class."""
    if archive.getinfo("schema.json").file_size > _LARGEST_SCHEMA:
        msg = "schema.json is too large"
        raise ValueError(msg)
    known: dict[Any, Any] = {}

    def value(node: Any) -> Any:
        kind = node["__loader__"]
        if kind == "CachedNode":
            return known[node["__id__"]]
        made = readers[kind](node)
        known[node.get("__id__")] = made
        return made

    def entries(node: Any) -> dict[str, Any]:
        return {str(k): value(v) for k, v in node["content"].items()}

    def state(node: Any) -> State:
        content = node["content"]
        return State(f"{node['__module__']}.{node['__class__']}", entries(content) if content else {})

    def array(node: Any) -> Any:
        if node["type"] != "numpy":
            msg = "it holds an array of objects"
            raise ValueError(msg)
        return read_array(archive, node["file"])

    def no_value(node: Any) -> None:
        return None

    readers: dict[str, Callable[[Any], Any]] = {
        "JsonNode": lambda node: json.loads(node["content"]),
        "ListNode": lambda node: [value(v) for v in node["content"]],
        "TupleNode": lambda node: [value(v) for v in node["content"]],
        "DictNode": entries,
        "NdArrayNode": array,
        "ObjectNode": state,
        "TreeNode": state,
        "TypeNode": no_value,
    }
    try:
        return value(json.loads(archive.read("schema.json")))
    except KeyError as error:
        msg = f"it holds objects that a baseline does not have, {error}"
        raise ValueError(msg) from None


def _filled(made: Any, state: Any, n: int) -> Any:
    """Give `made` the fitted values of `state`, which has to be of its class."""
    name = f"{type(made).__module__}.{type(made).__name__}"
    if not isinstance(state, State) or state.cls != name:
        msg = f"it is a {state.cls if isinstance(state, State) else type(state).__name__}"
        raise InputError(msg)
    values = state.values
    if isinstance(made, Pipeline):
        steps = [step[1] for step in values["steps"]]
        _require(len(steps) == len(made.steps), "it has other steps")
        for (_, inner), step in zip(made.steps, steps, strict=True):
            _filled(inner, step, n)
        return made
    if isinstance(made, CalibratedClassifierCV):
        of = values["calibrated_classifiers_"]
        _require(isinstance(of, list) and len(of) == made.cv, "it was calibrated in other folds")
        made.classes_, made.n_features_in_ = _CLASSES, n
        made.calibrated_classifiers_ = [_calibrated(made.estimator, each, n) for each in of]
        return made
    if isinstance(made, BaseForest):
        return _forest(made, values["estimators_"], n)
    for attribute, shape in _LINEAR[type(made).__name__].items():
        setattr(made, attribute, _numbers(values[attribute], shape(n), attribute))
    made.n_features_in_ = n
    if hasattr(made, "predict_proba") or hasattr(made, "decision_function"):
        made.classes_ = _CLASSES
    return made


_LINEAR: dict[str, dict[str, Callable[[int], tuple[int, ...]]]] = {
    "StandardScaler": {"mean_": lambda n: (n,), "scale_": lambda n: (n,)},
    "LogisticRegression": {"coef_": lambda n: (1, n), "intercept_": lambda n: (1,)},
    "LinearSVC": {"coef_": lambda n: (1, n), "intercept_": lambda n: (1,)},
    "RidgeCV": {"coef_": lambda n: (n,), "intercept_": lambda n: ()},
    "LinearSVR": {"coef_": lambda n: (n,), "intercept_": lambda n: (1,)},
}
"""Fitted values that a prediction is made with, and their shapes, by class."""


def _numbers(value: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    array = np.asarray(value)
    fits = array.dtype.kind == "f" and array.shape == shape and np.isfinite(array).all()
    _require(bool(fits), f"{what} is not {shape or 'a'} finite number{'s' if shape else ''}")
    return array


def _calibrated(svc: Any, state: Any, n: int) -> Any:
    _require(isinstance(state, State) and state.cls.endswith("._CalibratedClassifier"), "it holds no calibration")
    (sigmoid,) = state.values["calibrators"]
    _require(isinstance(sigmoid, State) and sigmoid.cls.endswith("._SigmoidCalibration"), "it holds no sigmoid")
    calibrator = _SigmoidCalibration()
    for name in ("a_", "b_"):
        setattr(calibrator, name, float(_numbers(np.float64(sigmoid.values[name]), (), name)))
    inner = _filled(type(svc)(**svc.get_params()), state.values["estimator"], n)
    return _CalibratedClassifier(inner, [calibrator], classes=_CLASSES, method="sigmoid")


def _forest(made: Any, states: Any, n: int) -> Any:
    _require(isinstance(states, list) and len(states) == made.n_estimators, "it has another number of trees")
    classifies = hasattr(made, "predict_proba")
    made.n_features_in_, made.n_outputs_ = n, 1
    if classifies:
        made.classes_, made.n_classes_ = _CLASSES, 2
    made.estimators_ = []
    for state in states:
        tree = DecisionTreeClassifier() if classifies else DecisionTreeRegressor()
        _require(isinstance(state, State) and state.cls.endswith(f".{type(tree).__name__}"), "it holds no such tree")
        tree.n_features_in_, tree.n_outputs_ = n, 1
        if classifies:
            tree.classes_, tree.n_classes_ = _CLASSES, 2
        tree.tree_ = _tree(state.values["tree_"], n, 2 if classifies else 1)
        made.estimators_.append(tree)
    return made


def _tree(state: Any, n: int, n_classes: int) -> Tree:
    """Make a tree whose every node leads on to a later one or is a leaf, and asks for a feature that there is."""
    _require(isinstance(state, State) and state.cls == "sklearn.tree._tree.Tree", "it holds no such tree")
    nodes, values = state.values["nodes"], np.asarray(state.values["values"])
    count = len(nodes)
    left, right, feature = (np.asarray(nodes[k], np.int64) for k in ("left_child", "right_child", "feature"))
    at = np.arange(count)
    leaf = (left == -1) & (right == -1)
    inner = (left > at) & (left < count) & (right > at) & (right < count)
    _require(count > 0 and bool((leaf | inner).all()), "it has a tree whose nodes point outside of it")
    _require(bool(((feature >= 0) & (feature < n))[inner].all()), "it has a tree that asks for a feature there is not")
    _numbers(nodes["threshold"], (count,), "a threshold")
    tree = Tree(n, np.array([n_classes], dtype=np.intp), 1)
    tree.__setstate__(
        {
            "max_depth": min(int(state.values["max_depth"]), count),
            "node_count": count,
            "nodes": nodes,
            "values": _numbers(values, (count, 1, n_classes), "a leaf"),
        }
    )
    return tree


def _require(fits: bool, why: str) -> None:
    if not fits:
        raise InputError(why)
