"""Writes a page about finished runs."""

from mils_jax.commands import Request
from mils_jax.progress import log_lines
from mils_jax.report.write import write_report


def run(request: Request) -> None:
  """Writes the report on the runs that match --runs and prints its sentences."""
  log_lines(write_report(request.flags['runs'], request.folder.path))
