"""What a model is registered for: checked against the MuData once, kept as plain JSON types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
from scvi.data.fields import BaseAnnDataField

from genexp_scverse import schema
from genexp_scverse._errors import InputError, in_shell, no_such, not_known, option, some
from genexp_scverse._logging import logger
from genexp_scverse.model.base._sources import codes_of, has_store, tracks_of
from genexp_scverse.pp._dna_features import feature_columns

if TYPE_CHECKING:
    import rich.table
    from anndata import AnnData
    from mudata import MuData

TARGETS = ("label", "expression", "both")
ALL_MARKS = "all"
"""In place of a list of marks: those that any sample has; what a sample lacks is masked."""
ROLES = (schema.RNA, schema.CHROMATIN, schema.DNA)


class GeneArrayField(BaseAnnDataField):
    """An array of a modality with genes as rows, of a type whose rows can be trusted.

    scvi-tools pairs modalities by position and returns the previous key's data for an array type that it does
    not know; both are refused here.
    """

    def __init__(self, registry_key: str, mod_key: str, attr_name: str, attr_key: str | None):
        self._registry_key, self._mod_key = registry_key, mod_key
        self._attr_name, self._attr_key = attr_name, attr_key

    @property
    def registry_key(self) -> str:
        """The name under which models ask for the array."""
        return self._registry_key

    @property
    def mod_key(self) -> str:
        """The modality."""
        return self._mod_key

    @property
    def attr_name(self) -> str:
        """``obsm``, ``layers`` or ``X``."""
        return self._attr_name

    @property
    def attr_key(self) -> str | None:
        """The key in it, None for X."""
        return self._attr_key

    @property
    def is_empty(self) -> bool:
        """Never: fields are made for what there is."""
        return False

    def validate_field(self, adata: MuData) -> None:
        """Raise unless genes agree and the array is of a known type."""
        schema.check_order(adata, self.mod_key)
        array = self.get(adata)
        dask_like = type(array).__module__.split(".")[0] == "dask"
        if not (isinstance(array, np.ndarray | h5py.Dataset) or dask_like):
            where = f'mdata["{self.mod_key}"].{self.attr_name}' + (f'["{self.attr_key}"]' if self.attr_key else "")
            msg = (
                f"{where} is a {type(array).__module__}.{type(array).__name__}, which cannot be read by rows safely: "
                "make it a numpy array, a numpy memmap or a dask array (dask.array.from_zarr)"
            )
            raise InputError(msg)

    def get(self, mdata: MuData) -> Any:
        """Return the array itself."""
        adata: AnnData = mdata.mod[self.mod_key]
        if self.attr_key is None:
            return getattr(adata, self.attr_name)
        return getattr(adata, self.attr_name)[self.attr_key]

    def register_field(self, adata: MuData) -> dict:
        """Check the array; nothing is copied or written."""
        self.validate_field(adata)
        return {}

    def transfer_field(self, state_registry: dict, adata_target: MuData, **kwargs) -> dict:
        """Check the array of another MuData."""
        self.validate_field(adata_target)
        return {}

    def get_summary_stats(self, state_registry: dict) -> dict:
        """No summary of its own."""
        return {}

    def view_state_registry(self, state_registry: dict) -> rich.table.Table | None:
        """No state to show."""
        return None


def array_fields(mdata: MuData, setup: dict) -> list[BaseAnnDataField]:
    """Fields of the arrays that a model with `setup` reads from `mdata`."""
    mods = setup["modalities"]
    fields: list[BaseAnnDataField] = []
    if setup["marks"] and not setup["genome"]:
        fields.append(GeneArrayField("bins", mods[schema.CHROMATIN], "obsm", schema.BINS))
    if setup["codes"] and not setup["genome"]:
        fields.append(GeneArrayField("codes", mods[schema.DNA], "obsm", schema.CODES))
    if setup["features"]:
        fields.append(GeneArrayField("features", mods[schema.DNA], "X", None))
    rna = mods.get(schema.RNA)
    if rna in mdata.mod:
        fields += [
            GeneArrayField(key, rna, "layers", key)
            for key in (schema.LOG, schema.LABEL)
            if key in mdata.mod[rna].layers
        ]
    return fields


def resolve_setup(
    mdata: MuData,
    *,
    samples: list[str] | None,
    marks: list[str] | str | None,
    target: str,
    split_key: str,
    modalities: dict[str, str | None] | None,
    reads: tuple[str, ...],
    required: tuple[str, ...],
    sequence: bool = False,
) -> dict:
    """Check `mdata` against the arguments of ``setup_mudata`` and return the whole setup as plain types.

    `reads` names the modalities that the model can read, `required` those that it cannot do without; `sequence` says
    whether it reads DNA as bases, and then also from a genome store.
    """
    schema.validate(mdata)
    if mdata.is_view or any(m.is_view for m in mdata.mod.values()):
        msg = "the MuData is a view: pass a copy, mdata[...].copy()"
        raise InputError(msg)
    if target not in TARGETS:
        raise InputError(not_known(option("target", target), target, TARGETS))
    unknown = set(modalities or {}) - set(ROLES)
    if unknown:
        raise InputError(no_such("role", min(unknown), ROLES, where="among the modalities"))
    mods = {role: (modalities or {}).get(role, role) for role in ROLES}
    for role in {*required, *(role for role, name in (modalities or {}).items() if name is not None)}:
        if mods[role] is None:
            msg = f"the model cannot do without the {role}: leave it out of modalities"
            raise InputError(msg)
        if mods[role] not in mdata.mod:
            msg = f'the MuData has no modality "{mods[role]}": it has {some(mdata.mod)}; see gx.io.build_mudata'
            raise InputError(msg)
    # a command line gives a list of words
    every = marks in (ALL_MARKS, [ALL_MARKS])
    setup: dict[str, Any] = {
        "target": target,
        "split_key": split_key,
        "modalities": mods,
        "samples": _as_list(samples),
        "marks": None if every else _as_list(marks),
        "masked": every,
        "n_bins": 0,
        "window": None,
        "features": [],
        "sample_features": False,
        "scales": {},
        "units": {},
        "binning": None,
        "dna": None,
        "codes": None,
        "genome": sequence and has_store(mdata),
    }
    chromatin = tracks_of(mdata, setup) if schema.CHROMATIN in reads else None
    if chromatin is not None:
        setup["n_bins"] = int(chromatin.obsm[schema.BINS].shape[2])
        setup["window"] = _plain_window(chromatin)
        setup["binning"] = plain(chromatin.uns.get("binning"))
        setup["samples"], setup["marks"] = _samples_and_marks(mdata, chromatin, setup)
        used = chromatin.var[chromatin.var["sample"].isin(setup["samples"])]
        setup["scales"] = {
            m: sorted(set(used["scale"][used["mark"].astype(str) == m].astype(str))) for m in setup["marks"]
        }
    else:
        if setup["marks"]:
            msg = (
                f"the MuData has no tracks, and the model reads the marks {some(setup['marks'], 6)}: build it with a "
                "sample sheet, see gx.io.build_mudata"
            )
            raise InputError(msg)
        if setup["samples"] is None:
            setup["samples"] = _measured_samples(mdata, mods[schema.RNA])
    dna = mdata.mod.get(mods[schema.DNA]) if schema.DNA in reads else None
    if dna is not None:
        setup["features"], columns = feature_columns(dna.var, setup["samples"])
        setup["sample_features"] = bool((columns != columns[:1]).any())
        setup["dna"] = [plain(dna.uns.get(key)) for key in ("window", "sequence_features")]
    if sequence:
        _, setup["codes"] = codes_of(mdata, setup)
    if mods[schema.RNA] in mdata.mod:
        var = mdata.mod[mods[schema.RNA]].var
        units = dict(zip(var["sample"].astype(str), var["unit"].astype(str), strict=True))
        setup["units"] = {s: units[s] for s in setup["samples"] if s in units}
    if not setup["marks"] and not setup["features"] and not setup["codes"]:
        msg = (
            "the MuData holds neither tracks nor sequence features for this model: add tracks with "
            "gx.io.build_mudata, or features of the DNA with gx.pp.sequence_features"
        )
        raise InputError(msg)
    return setup


def arguments_of(setup: Mapping[str, Any]) -> dict[str, Any]:
    """Give the arguments of ``setup_mudata`` that let another model read and learn what one with `setup` does.

    The one way back: other data given to a model, models trained anew to compare with it, members of an ensemble.
    A modality of its usual name is left to be found, since DNA and tracks may be those of a genome store; one that the
    model does not read is None.
    """
    read = {schema.CHROMATIN: bool(setup["marks"]), schema.DNA: bool(setup["features"] or setup["codes"])}
    return {
        "samples": setup["samples"],
        "marks": ALL_MARKS if setup["masked"] else setup["marks"] or None,
        "target": setup["target"],
        "split_key": setup["split_key"],
        "modalities": {
            role: name if read.get(role, True) else None
            for role, name in setup["modalities"].items()
            if name != role or not read.get(role, True)
        },
    }


def check_reading(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise unless a model with the setup `there` reads the DNA that one with the setup `wanted` does."""
    if there["codes"] != wanted["codes"]:
        msg = f"the model reads DNA in the window {wanted['codes']} and the MuData has {there['codes']}: build it alike"
        raise InputError(msg)
    if there["features"] != wanted["features"]:
        msg = (
            f"the model reads {len(wanted['features'])} features of the DNA and the MuData has "
            f"{len(there['features'])} or others: make the same ones with gx.pp.sequence_features"
        )
        raise InputError(msg)


def track_positions(chromatin: AnnData, samples: list[str], marks: list[str], *, masked: bool = False) -> np.ndarray:
    """Position of every (sample, mark) among the tracks, samples x marks.

    Raises when one is missing; if `masked`, that is -1, and raises for a sample without any mark.
    """
    at = {(s, m): i for i, (s, m) in enumerate(zip(chromatin.var["sample"], chromatin.var["mark"], strict=True))}
    for sample in samples:
        if not any(str(s) == sample for s in chromatin.var["sample"]):
            known = dict.fromkeys(chromatin.var["sample"].astype(str))
            raise InputError(no_such("sample", sample, known, where="with tracks"))
        missing = [m for m in marks if (sample, m) not in at]
        if not missing or (masked and len(missing) < len(marks)):
            continue
        shared = [m for m in marks if m not in missing]
        if masked:
            n = len(marks)
            msg = (
                f"sample {sample!r} lacks {n} of the {n} marks that the model reads ({some(marks, 6)}): choose another"
            )
            raise InputError(msg)
        ways = f"train with {_each('marks', shared)}, which it has, or " if shared else ""
        msg = (
            f"sample {sample!r} lacks {len(missing)} of the {len(marks)} marks that the model reads "
            f"({some(missing, 6)}): {ways}train on samples of which some lack them too, with "
            f"{option('marks', ALL_MARKS)}, which masks what is missing"
        )
        raise InputError(msg)
    return np.array([[at.get((s, m), -1) for m in marks] for s in samples], dtype=np.int64)


def _each(name: str, values: list[str]) -> str:
    """Name an argument of several values: as a list in Python, once for each in the shell."""
    return " ".join(option(name, v) for v in values) if in_shell() else option(name, values)


def split_values(mdata: MuData, split_key: str) -> np.ndarray:
    """Give the split of every gene as strings ('' where there is none)."""
    if split_key not in mdata.obs:
        msg = f'mdata.obs has no column "{split_key}": set it with gx.pp.split_by_chromosome(mdata)'
        raise InputError(msg)
    values = mdata.obs[split_key].astype(object).where(mdata.obs[split_key].notna(), "").to_numpy().astype(str)
    unknown = sorted(set(values) - {"", *schema.SPLITS})
    if unknown:
        msg = f'mdata.obs["{split_key}"] holds {some(unknown)}: allowed are {", ".join(schema.SPLITS)}, or nothing'
        raise InputError(msg)
    return values


def _samples_and_marks(mdata: MuData, chromatin: AnnData, setup: dict) -> tuple[list[str], list[str]]:
    var = chromatin.var
    there = list(dict.fromkeys(var["sample"].astype(str)))
    samples = setup["samples"]
    if samples is None:
        samples = there
        rna = setup["modalities"][schema.RNA]
        if rna in mdata.mod:
            measured = set(_measured_samples(mdata, rna))
            samples = [s for s in there if s in measured] or there
            if len(samples) < len(there):
                logger.info(
                    "%s: without expression, left out of training",
                    some([s for s in there if s not in measured]),
                )
    unknown = [s for s in samples if s not in there]
    if unknown:
        raise InputError(no_such("sample", unknown[0], there, where="with tracks"))
    of = {s: list(dict.fromkeys(var["mark"][var["sample"].astype(str) == s].astype(str))) for s in samples}
    marks = setup["marks"]
    known = dict.fromkeys(var["mark"].astype(str))
    if unknown := [m for m in marks or () if m not in known]:
        raise InputError(no_such("mark", unknown[0], known, where="in the MuData"))
    if setup["masked"]:
        marks = list(dict.fromkeys(m for s in samples for m in of[s]))
        lacking = [f"{s}.{m}" for s in samples for m in marks if m not in of[s]]
        # nothing to mask: the model is then the same as one of shared marks
        setup["masked"] = bool(lacking)
        if lacking:
            logger.info("%d of the tracks are missing and are masked: %s", len(lacking), some(lacking, 6))
    if marks is None:
        marks = [m for m in of[samples[0]] if all(m in of[s] for s in samples)]
        left = list(dict.fromkeys(m for s in samples for m in of[s] if m not in marks))
        if not marks:
            msg = f"the samples {some(samples)} share no mark: train a model for each, {option('samples', samples[0])}"
            raise InputError(msg)
        if left:
            logger.info(
                "The %d samples share %d marks (%s); %s left out, since not every sample has them (%s takes them and "
                "masks what is missing)",
                len(samples),
                len(marks),
                ", ".join(marks),
                some(left, 6),
                option("marks", ALL_MARKS),
            )
    track_positions(chromatin, samples, marks, masked=setup["masked"])
    return samples, marks


def _measured_samples(mdata: MuData, modality: str | None) -> list[str]:
    """Find samples with a level or a label for at least one gene."""
    if modality not in mdata.mod:
        msg = f'the MuData has no modality "{modality}", so there is nothing to learn from: see gx.io.build_mudata'
        raise InputError(msg)
    rna = mdata.mod[modality]
    has = np.zeros(rna.n_vars, bool)
    for key in (schema.LOG, schema.LABEL):
        if key in rna.layers:
            has |= ~np.isnan(np.asarray(rna.layers[key])).all(axis=0)
    return [str(s) for s, ok in zip(rna.var["sample"], has, strict=True) if ok]


def _plain_window(chromatin: AnnData) -> dict | None:
    window = chromatin.uns.get("window")
    if window is None:
        return None
    plain: dict[str, int | bool] = {k: int(window[k]) for k in ("upstream", "downstream", "bin_size")}
    return {**plain, "stranded": bool(window["stranded"])}


def plain(settings: Any) -> dict[str, str] | None:
    """Give settings of ``uns`` as text, which is the same before and after a file."""
    if settings is None:
        return None
    return {str(k): str(np.asarray(v).tolist()) for k, v in sorted(settings.items())}


def _as_list(values) -> list[str] | None:
    if values is None:
        return None
    values = [values] if isinstance(values, str) else [str(v) for v in values]
    if not values:
        msg = "samples and marks must name at least one, or be None for all"
        raise InputError(msg)
    twice = pd.Index(values)[pd.Index(values).duplicated()]
    if len(twice):
        msg = f"{some(twice)} is named twice among the samples or marks: name each once"
        raise InputError(msg)
    return values
