"""Tests what every channel subset costs the trained model."""

from mils_jax.commands.request import Request
from mils_jax.progress import log_lines
from mils_jax.report.subsets import subset_lines
from mils_jax.subsets import run_subsets


def run(request: Request) -> None:
  report = run_subsets(request.config, request.folder)
  report.save(request.folder)
  log_lines(subset_lines(report, request.folder.path))
