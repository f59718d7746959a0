"""Trains a run, or resumes it, and prints its result."""

from mils_jax.commands.request import Request
from mils_jax.progress import log_lines
from mils_jax.report.text import result_lines
from mils_jax.run import run_training


def run(request: Request) -> None:
  results = run_training(request.config, request.folder, request.words)
  log_lines(result_lines(results, request.folder.path))
