"""Registration of a MuData for a model class, on scvi-tools' managers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import rich.pretty  # noqa: F401 - scvi-tools shows a setup with it and does not import it
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass

from genexp_scverse import schema
from genexp_scverse._checks import check_methods, checked
from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse.model.base._registration import arguments_of, array_fields, resolve_setup, track_positions
from genexp_scverse.model.base._selection import chosen_samples
from genexp_scverse.model.base._sources import tracks_of

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


@checked
class RegisteredModel(BaseModelClass):
    """A model class that a MuData can be registered for."""

    reads: ClassVar[tuple[str, ...]] = (schema.CHROMATIN,)
    """Roles of the modalities that the model can read."""
    sequence: ClassVar[bool] = False
    """Whether it reads DNA as bases, from the MuData or from a genome store."""
    setup_: dict
    required: ClassVar[tuple[str, ...]] = (schema.CHROMATIN,)
    """Roles that it cannot do without."""

    def __init_subclass__(cls, **kwargs: Any):
        """Let every public method of a model check its arguments."""
        super().__init_subclass__(**kwargs)
        check_methods(cls)

    @classmethod
    def setup_mudata(
        cls,
        mdata: MuData,
        samples: Sequence[str] | str | None = None,
        marks: Sequence[str] | str | None = None,
        target: str = "both",
        split_key: str = schema.SPLIT,
        modalities: dict[str, str | None] | None = None,
    ) -> None:
        """Register `mdata` for this class; optional, since ``Model(mdata)`` registers with these defaults.

        Parameters
        ----------
        mdata
            Gene-centric MuData, see :mod:`genexp_scverse.schema`.
        samples
            Samples to learn from; by default all that have tracks and expression. Several samples are pooled:
            every (gene, sample) pair is an example.
        marks
            Marks to read, in this order; by default those that every sample has. ``"all"`` takes those that any
            sample has: where a sample lacks one, its signal is 0 and the network is told so.
        target
            ``label``, ``expression`` or ``both``.
        split_key
            Column of ``obs`` with train, valid and test.
        modalities
            Names of the modalities where they are not rna, chromatin and dna; None for one that is not to be
            read, such as ``{"dna": None}`` for a baseline on tracks alone.

        Raises
        ------
        InputError
            When the MuData does not fit, with the key, the value and the mend.

        Examples
        --------
        >>> import numpy as np, genexp_scverse as gx
        >>> x = np.random.default_rng(0).random((20, 2, 40))
        >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(20)], marks=["H3K4me3", "H3K27me3"],
        ...                         expression=x[:, 0].mean(1), unit="log")
        >>> gx.model.DeepChrome.setup_mudata(mdata, marks=["H3K4me3"], target="label")
        >>> gx.model.DeepChrome(mdata).setup_["marks"]
        ['H3K4me3']
        """
        args: dict[str, Any] = {
            "samples": samples if samples is None or isinstance(samples, str) else list(samples),
            "marks": marks if marks is None or isinstance(marks, str) else list(marks),
            "target": target,
            "split_key": split_key,
            "modalities": modalities,
        }
        setup = resolve_setup(mdata, **args, reads=cls.reads, required=cls.required, sequence=cls.sequence)
        manager = AnnDataManager(
            fields=array_fields(mdata, setup),
            setup_method_args={
                "model_name": cls.__name__,
                "setup_method_name": "setup_mudata",
                "setup_args": args,
                "genexp_setup": setup,
            },
        )
        known = cls._setup_adata_manager_store.get(mdata.uns.get("_scvi_uuid", ""))
        if known is not None and known.adata is not mdata:
            # a copy carries the id of the original and would take its place
            del mdata.uns["_scvi_uuid"]
        manager.register_fields(mdata)
        cls.register_manager(manager)

    @classmethod
    def setup_anndata(cls, adata: AnnData, **kwargs) -> None:
        """Refuse an AnnData: these models read several modalities of a MuData.

        Parameters
        ----------
        adata, kwargs
            What scvi-tools' models take.

        Raises
        ------
        InputError
            Always, with the mend.
        """
        msg = f"{cls.__name__} reads a MuData with genes as observations: see gx.io.build_mudata and setup_mudata"
        raise InputError(msg)

    @property
    def adata(self) -> MuData | None:
        """The MuData that the model was made with, or was given later."""
        return self._adata

    @adata.setter
    def adata(self, mdata: MuData) -> None:
        setup = self.setup_
        schema.validate(mdata)
        arguments = {**arguments_of(setup), "samples": chosen_samples(mdata, setup, None)}
        chromatin = tracks_of(mdata, setup) if setup["marks"] else None
        if chromatin is not None:
            # what the model reads is not what was typed: a mark that is nowhere is lacking, not mistyped
            track_positions(chromatin, arguments["samples"], setup["marks"], masked=setup["masked"])
        if setup["modalities"][schema.RNA] not in mdata.mod:
            # genes to predict need not be measured
            arguments["modalities"].pop(schema.RNA, None)
        type(self).setup_mudata(mdata, **arguments)
        self._adata = mdata
        self._adata_manager = self._get_most_recent_anndata_manager(mdata, required=True)
        self._register_manager_for_instance(self._adata_manager)
        self.registry_ = self._adata_manager.registry

    @classmethod
    def _register(cls, mdata: MuData) -> None:
        """Register with the defaults unless this very object was set up."""
        manager = None
        if hasattr(mdata, "uns"):
            manager = cls._setup_adata_manager_store.get(mdata.uns.get("_scvi_uuid", ""))
        if manager is None:
            cls.setup_mudata(mdata)
        elif manager.adata is not mdata:
            logger.info("The MuData is a copy of one that was set up for %s: the same setup is used", cls.__name__)
            cls.setup_mudata(mdata, **manager._registry["setup_args"])
