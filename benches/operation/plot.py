#!/usr/bin/env python3
"""Draws what `python3 benches/operation overload` wrote: python benches/operation/plot.py overload.csv docs/operation/overload.png

Needs matplotlib (PyPI). From top to bottom: frames that came out in each second, latency at the median and at the 99th
percentile, the rung; shaded where processes load all cores.
"""
import csv
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402


def main(table: str, picture: str) -> None:
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    column = {name: [float(row[name]) for row in rows] for name in rows[0]}
    seconds = column["second"]
    figure, cells = plt.subplots(3, 1, figsize=(8, 5), sharex=True, layout="constrained")
    for cell in cells:
        cell.grid(alpha=0.3)
        cell.fill_between(seconds, 0, 1, where=[load > 0 for load in column["load"]], step="post", alpha=0.15,
                          color="tab:red", transform=cell.get_xaxis_transform(), linewidth=0)
    cells[0].step(seconds, column["frames out"], where="post")
    cells[0].set_ylabel("frames out")
    cells[0].set_ylim(0, None)
    cells[1].step(seconds, column["latency p50 ms"], where="post", label="median")
    cells[1].step(seconds, column["p99 ms"], where="post", label="99th percentile", alpha=0.7)
    cells[1].set_ylabel("latency, ms")
    cells[1].legend(fontsize=8)
    cells[2].step(seconds, column["rung"], where="post")
    cells[2].set_yticks(range(4), ["full", "1/3", "1/8", "untouched"])
    cells[2].invert_yaxis()
    cells[2].set_ylabel("pixels")
    cells[2].set_xlabel("seconds")
    figure.savefig(picture, dpi=90)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
