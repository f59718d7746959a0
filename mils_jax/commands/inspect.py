"""Shows what a dataset holds, before anyone trains on it."""

from mils_jax.build import open_data
from mils_jax.commands.request import Request
from mils_jax.data.inspection import inspect
from mils_jax.progress import log_lines
from mils_jax.report.inspection import write_inspection
from mils_jax.run_config import check_owner, claim


def run(request: Request) -> None:
  check_owner(request.folder, request.config)
  data = open_data(request.config, allow_nonfinite=True)
  claim(request.folder, request.config)
  log_lines(write_inspection(inspect(data), data, request.folder.path / 'inspection'))
