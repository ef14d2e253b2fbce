"""MuData to MuData: splits, labels, transforms, scaling, features of the sequence."""

from importlib import import_module

from genexp_scverse._lazy import public

# Not lazy: a function and the file it is in may share a name, and importing the file later would put the
# module in the function's place.
from genexp_scverse.pp.contact_track import contact_track
from genexp_scverse.pp.contacts import contact_neighbors
from genexp_scverse.pp.folds import split_by_fold
from genexp_scverse.pp.gene_features import add_gene_features
from genexp_scverse.pp.graphs import check_graph
from genexp_scverse.pp.intervals import add_intervals, interval_mask
from genexp_scverse.pp.label import label, median_of_training
from genexp_scverse.pp.neighbors import gene_neighbors
from genexp_scverse.pp.profile import mean_profile
from genexp_scverse.pp.promoter_activity import promoter_activity
from genexp_scverse.pp.scale import scale
from genexp_scverse.pp.scaler import SignalScaler
from genexp_scverse.pp.select import select
from genexp_scverse.pp.sequence import sequence_features
from genexp_scverse.pp.similarity import similarity_neighbors
from genexp_scverse.pp.split import split_at_random, split_by_chromosome, training_rows
from genexp_scverse.pp.transform import arcsinh, log1p

__all__ = [
    "SignalScaler",
    "add_gene_features",
    "add_intervals",
    "arcsinh",
    "check_graph",
    "contact_neighbors",
    "contact_track",
    "gene_neighbors",
    "interval_mask",
    "label",
    "log1p",
    "mean_profile",
    "median_of_training",
    "promoter_activity",
    "scale",
    "select",
    "sequence_features",
    "similarity_neighbors",
    "split_at_random",
    "split_by_chromosome",
    "split_by_fold",
    "training_rows",
]

for _name in __all__:
    globals()[_name] = public(import_module(globals()[_name].__module__), _name)
