import subprocess
import sys

import pytest

from mils_jax.errors import UserError
from mils_jax.files import make_writable, replaced


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
  path = tmp_path / 'table.csv'
  for text in ('old', 'new'):
    with replaced(path) as unfinished:
      unfinished.write_text(text)
  with pytest.raises(TypeError), replaced(path) as unfinished, unfinished.open('w') as file:
    file.writelines(['half', 2])
  assert path.read_text() == 'new'
  assert list(tmp_path.iterdir()) == [path]


def test_two_processes_that_write_one_file_leave_one_of_theirs_whole(tmp_path):
  path = tmp_path / 'table.csv'
  writer = ('import sys, pathlib; from mils_jax.files import replaced\n'
            'with replaced(pathlib.Path(sys.argv[1])) as file:\n'
            '  file.write_text("theirs"); print(flush=True); input()')
  with subprocess.Popen([sys.executable, '-c', writer, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                        text=True) as other:
    other.stdout.readline()
    with replaced(path) as unfinished:
      unfinished.write_text('ours')
    assert path.read_text() == 'ours'
    other.communicate('\n')
  assert (other.returncode, path.read_text()) == (0, 'theirs')
  assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_made_and_tried_or_refused_in_a_line(tmp_path):
  make_writable(tmp_path / 'a' / 'b', tmp_path / 'a' / 'b' / 'c')
  assert list(tmp_path.rglob('*')) == [tmp_path / 'a', tmp_path / 'a' / 'b']
  (tmp_path / 'file').touch()
  with pytest.raises(UserError, match=r'^--output .*/file/c cannot be written: (Not a directory|File exists)$'):
    make_writable(tmp_path / 'file', tmp_path / 'file' / 'c')
