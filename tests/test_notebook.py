"""The notebook of the documentation runs from its first cell to its last, as a reader runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / 'docs/any_bands.ipynb'


def printed(notebook, word):
  """What the cells that hold this word print."""
  return ''.join(''.join(output.get('text', '')) for cell in notebook['cells']
                 if cell['cell_type'] == 'code' and word in ''.join(cell['source']) for output in cell['outputs'])


@pytest.mark.slow
def test_the_notebook_ends_with_a_model_that_does_with_two_bands(tmp_path):
  pytest.importorskip('nbclient', reason='no nbclient runs notebooks')
  ran = tmp_path / 'any_bands.ipynb'
  ran.write_bytes(NOTEBOOK.read_bytes())
  executed = subprocess.run([Path(sys.executable).with_name('jupyter-execute'), '--inplace', ran], cwd=tmp_path,
                            capture_output=True, text=True)
  assert executed.returncode == 0, executed.stderr
  notebook = json.loads(ran.read_text())
  line = next(line for line in printed(notebook, 'mils_jax.load').splitlines() if 'alone:' in line)
  assert float(line.split('alone: ')[1].partition('%')[0]) > 75, line  # by chance 20, a forest on these two bands 87
  assert '200 images' in printed(notebook, 'mils-jax predict')
  assert 'missing' in printed(notebook, 'head -n 4 classes.csv')


def test_the_notebook_holds_what_its_cells_put_out():
  cells = json.loads(NOTEBOOK.read_text())['cells']
  empty = [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code' and not cell['outputs']]
  assert empty == []
  assert NOTEBOOK.stat().st_size < 500_000
