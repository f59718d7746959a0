import json

import pytest

from mils_jax.errors import RunError, UserError
from mils_jax.training.run_folder import RunFolder


def test_a_lock_is_for_one_and_free_afterwards(tmp_path):
  folder = RunFolder(tmp_path / 'run')
  with folder.locked(), pytest.raises(UserError, match=r'being trained in by process \d+ on '), folder.locked():
    pass
  with folder.locked():
    pass


def test_what_a_dying_process_left_is_in_no_ones_way(tmp_path):
  folder = RunFolder(tmp_path)
  (tmp_path / 'config.json.tmp').write_text('{"na')
  with folder.locked():
    folder.check_empty()
    folder.write_config({'name': 'a'})
  assert folder.read_config() == {'name': 'a'}


def test_an_unfinished_last_line_of_metrics_is_none(tmp_path):
  folder = RunFolder(tmp_path)
  folder.metrics.write_text(json.dumps({'step': 4}) + '\n{"step": 8, "lo')
  assert folder.read_metrics() == [{'step': 4}]
  folder.metrics.write_text('garbage\n')
  with pytest.raises(RunError, match='cannot be read'):
    folder.read_metrics()
