"""The API pages list every public name, and nothing else."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import genexp_scverse as gx

PAGES = Path(__file__).parents[1] / "docs" / "api"
LAZY = ("io", "pp", "model", "tl", "pl", "datasets")
WHOLE = ("metrics", "schema")


def listed(text: str) -> set[str]:
    """Entries of a page, such as ``io.read_genes``: of its autosummary blocks, and constants shown in place."""
    blocks = re.findall(r"\.\. autosummary::\n(.*?)```", text, flags=re.DOTALL)
    entries = {line.strip() for block in blocks for line in block.splitlines() if re.fullmatch(r"\s+[\w.]+", line)}
    for part, block in re.findall(r"currentmodule:: genexp_scverse\.(\w+)\n(.*?)```", text, flags=re.DOTALL):
        entries |= {f"{part}.{name}" for name in re.findall(r"\.\. autodata:: (\w+)", block)}
    return entries


def public(part: str) -> set[str]:
    module = getattr(gx, part)
    if part in LAZY:
        return set(module.__all__)
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (
            (name.isupper() and name != "TYPE_CHECKING")
            or (inspect.isfunction(value) and value.__module__ == module.__name__)
        )
    }


@pytest.mark.parametrize("part", [*LAZY, *WHOLE])
def test_page_lists_every_public_name(part):
    assert listed((PAGES / f"{part}.md").read_text(encoding="utf-8")) == {f"{part}.{n}" for n in public(part)}


def test_entries_are_read_from_a_page():
    page = "# T\n\n```{eval-rst}\n.. autosummary::\n   :toctree: x\n\n   io.read_genes\n   io.read_codes\n```\n"
    page += "```{eval-rst}\n.. currentmodule:: genexp_scverse.schema\n\n.. autodata:: RNA\n```\n"
    assert listed(page) == {"io.read_genes", "io.read_codes", "schema.RNA"}


@pytest.mark.parametrize("part", LAZY)
def test_every_promised_name_is_there_and_documented(part):
    module = getattr(gx, part)
    # Once pp/label.py is imported, pp.label must still be the function and not the module.
    for found in pkgutil.iter_modules(module.__path__, prefix=f"{module.__name__}."):
        importlib.import_module(found.name)
    for name in module.__all__:
        value = getattr(module, name)
        assert not inspect.ismodule(value), f"gx.{part}.{name} is hidden by the module of that name"
        if inspect.isfunction(value) or inspect.isclass(value):
            assert value.__doc__, f"gx.{part}.{name} has no docstring"
            assert value.__name__ == name
