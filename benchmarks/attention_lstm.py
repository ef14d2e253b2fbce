"""Time an epoch of AttentiveChrome beside a plain PyTorch transcription of the published network, in one run.

    python benchmarks/attention_lstm.py > attention_lstm.tsv
    python benchmarks/attention_lstm.py k562.h5mu --sample K562 --threads 1 --epochs 5

The plain network has a torch.nn.LSTM per mark, called in a loop, and the attention of each mark after it; ours runs
all marks and both directions as one recurrence. Both start from the same weights, see the same batches in the same
order, and are trained by the same loop as published (Adam at 2e-4, gradients clipped to norm 1). On a GPU ours is
trained as the package trains it: forward, backward and clipping are recorded once and replayed, and Adam is torch's
fused one; the plain network is trained as one writes it. Epochs alternate; the table has the fastest epoch of each,
and the loss and AUROC on the validation genes after the last one. On one thread of a CPU the times are processor
seconds, else seconds of the clock: leave the machine alone for those.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

import genexp_scverse as gx
from genexp_scverse.model.attentivechrome._module import AttentiveChromeModule
from genexp_scverse.model.attentivechrome._published import published_names
from genexp_scverse.model.base._graphed import GraphedStep

LSTM = [f"{part}_l0{way}" for way in ("", "_reverse") for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def main() -> None:
    """Run all combinations and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mudata", nargs="?", help="simulated counts without it")
    parser.add_argument("--sample", help="of the MuData")
    parser.add_argument("--genes", type=int, default=2560, help="of the simulation, for training")
    parser.add_argument("--marks", type=int, nargs="+", default=[5])
    parser.add_argument("--bins", type=int, default=100)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[16, 128])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of torch, on the CPU")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of each")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    rows = []
    for n_marks, n_threads, batch_size in itertools.product(
        args.marks, args.threads if args.device == "cpu" else [1], args.batch_size
    ):
        torch.set_num_threads(n_threads)
        train, valid = real(args) if args.mudata else simulated(args.genes, n_marks, args.bins)
        rows.append({"device": args.device, "threads": n_threads, "batch_size": batch_size})
        rows[-1] |= compared(train, valid, batch_size, n_threads, args)
        sys.stderr.write(f"{rows[-1]}\n")
    pd.DataFrame(rows).to_csv(sys.stdout, sep="\t", index=False, float_format="%.4g")


class Plain(nn.Module):
    """Singh et al. 2017 as one writes it down: mark after mark."""

    def __init__(self, n_marks: int, n_hidden: int = 32):
        super().__init__()
        self.bins = nn.ModuleList(nn.LSTM(1, n_hidden, bidirectional=True) for _ in range(n_marks))
        self.bin_queries = nn.ParameterList(nn.Parameter(torch.empty(2 * n_hidden, 1)) for _ in range(n_marks))
        self.marks = nn.LSTM(2 * n_hidden, n_hidden // 2, bidirectional=True)
        self.mark_query = nn.Parameter(torch.empty(n_hidden, 1))
        self.out = nn.Linear(n_hidden, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Log odds (B,) of `x` (B, marks, bins)."""
        summaries = []
        for m, (lstm, query) in enumerate(zip(self.bins, self.bin_queries, strict=True)):
            summaries.append(attended(lstm(x[:, m].T.unsqueeze(2))[0], query))
        return self.out(attended(self.marks(torch.stack(summaries))[0], self.mark_query))[:, 0]

    def released(self) -> dict[str, torch.Tensor]:
        """Parameters under the names of the released files."""
        named = {"fdiff1_1.weight": self.out.weight, "fdiff1_1.bias": self.out.bias}
        lstms = [*((f"rnn_hms.{m}", *pair) for m, pair in enumerate(zip(self.bins, self.bin_queries, strict=True)))]
        for prefix, lstm, query in [*lstms, ("hm_level_rnn_1", self.marks, self.mark_query)]:
            named |= {f"{prefix}.rnn.{name}": getattr(lstm, name) for name in LSTM}
            named[f"{prefix}.bin_attention.bin_context_vector"] = query
        return named


def attended(hidden: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Mix hidden states (steps, B, hidden) by attention."""
    hidden = hidden.permute(1, 0, 2)
    attention = torch.softmax(hidden @ query, dim=1)
    return torch.bmm(attention.transpose(1, 2), hidden)[:, 0]


class Ours(nn.Module):
    """The network of the package, called in the same way."""

    def __init__(self, n_marks: int, n_bins: int):
        super().__init__()
        self.network = AttentiveChromeModule(n_marks, n_bins, target="label", label_units=1, init_range=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Log odds (B,) of `x` (B, marks, bins)."""
        return self.network({"bins": x})["logit"]


class Training:
    """One network, its optimiser and its clock."""

    fused = False

    def __init__(self, net: nn.Module, data: tuple[torch.Tensor, torch.Tensor], clock):
        self.net, self.clock, self.seconds = net.to(data[0].device), clock, []
        self.x, self.label = data
        self.optimizer = torch.optim.Adam(net.parameters(), lr=2e-4, fused=self.fused)

    def loss(self, rows: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the genes of a batch."""
        return F.binary_cross_entropy_with_logits(self.net(self.x[rows]), self.label[rows])

    def gradients(self, rows: torch.Tensor) -> None:
        """Leave the clipped gradients of a batch with the parameters."""
        loss = self.loss(rows)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)

    def epoch(self, order: torch.Tensor, batch_size: int) -> None:
        """Train once over all genes."""
        self.net.train()
        start = self.clock()
        for rows in order.split(batch_size):
            self.gradients(rows)
            self.optimizer.step()
        self.seconds.append(self.clock() - start)

    def measured(self, x: torch.Tensor, label: torch.Tensor) -> tuple[float, float]:
        """Loss and AUROC."""
        self.net.eval()
        with torch.no_grad():
            logit = torch.cat([self.net(part) for part in x.split(256)])
        loss = F.binary_cross_entropy_with_logits(logit, label).item()
        return loss, roc_auc_score(label.cpu(), logit.cpu())


class Recorded(Training):
    """The same on a GPU as the package trains."""

    fused = True

    def __init__(self, net: nn.Module, data: tuple[torch.Tensor, torch.Tensor], clock):
        super().__init__(net, data, clock)
        self.gradients = GraphedStep(self.loss, net.parameters(), clip_norm=1.0)


def compared(train, valid, batch_size: int, n_threads: int, args) -> dict[str, float]:
    """Train both and return a row of the table."""
    data = x, _ = tuple(each.to(args.device) for each in train)
    n_marks, n_bins = x.shape[1:]

    def clock() -> float:
        if args.device != "cpu":
            torch.cuda.synchronize()
        return time.process_time() if args.device == "cpu" and n_threads == 1 else time.perf_counter()

    torch.manual_seed(0)
    ours, plain = Ours(n_marks, n_bins), Plain(n_marks)
    with torch.no_grad():
        released = plain.released()
        for name, value in ours.network.state_dict().items():
            parts = value.reshape(len(published_names(n_marks)[name]), -1)
            for part, theirs in zip(parts, published_names(n_marks)[name], strict=True):
                released[theirs].copy_(part.reshape(released[theirs].shape))
    as_package = Training if args.device == "cpu" else Recorded
    both = {"ours": as_package(ours, data, clock), "plain": Training(plain, data, clock)}
    for one in both.values():
        # the first batch makes what later ones use again
        one.gradients(torch.arange(batch_size, device=x.device))
    for _ in range(args.epochs):
        order = torch.randperm(len(x)).to(args.device)
        for one in both.values():
            one.epoch(order, batch_size)
    row: dict[str, float] = {"marks": n_marks, "bins": n_bins, "genes": len(x), "epochs": args.epochs}
    row |= {f"{name}_epoch_s": min(one.seconds) for name, one in both.items()}
    row["times_faster"] = row["plain_epoch_s"] / row["ours_epoch_s"]
    for name, one in both.items():
        row[f"{name}_valid_loss"], row[f"{name}_valid_auroc"] = one.measured(*(each.to(args.device) for each in valid))
    return row


def simulated(n_genes: int, n_marks: int, n_bins: int):
    """Counts of training and validation genes; the odd marks rise with the level around the TSS, the others fall."""
    rng = np.random.default_rng(0)
    n = n_genes + 1000
    level = rng.normal(0, 1, n)
    x = rng.poisson(1.0, (n, n_marks, n_bins)).astype(np.float32)
    for m in range(n_marks):
        rate = np.exp(0.6 * (-1) ** m * level)[:, None] * np.exp(-0.5 * ((np.arange(n_bins) / n_bins - 0.5) / 0.1) ** 2)
        x[:, m] += rng.poisson(rate)
    label = (level + rng.normal(0, 0.5, n) > 0).astype(np.float32)
    return [(torch.tensor(x[rows]), torch.tensor(label[rows])) for rows in (slice(n_genes), slice(n_genes, None))]


def real(args):
    """Raw bins and labels of the training and the validation genes of a sample."""
    mdata = gx.io.read_mudata(args.mudata)
    gx.pp.label(mdata)
    rna, chromatin = mdata["rna"], mdata["chromatin"]
    label = np.asarray(rna.layers["label"])[:, list(rna.var["sample"]).index(args.sample)]
    bins = np.asarray(chromatin.obsm["bins"])[:, np.flatnonzero(chromatin.var["sample"] == args.sample)]
    rows = [np.flatnonzero((mdata.obs["split"] == split) & ~np.isnan(label)) for split in ("train", "valid")]
    return [(torch.tensor(bins[r]).float(), torch.tensor(label[r]).float()) for r in rows]


if __name__ == "__main__":
    main()
