import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mils_jax.commands import COMMANDS
from mils_jax.distributed.launch import Place, join, leave, place_from_flags
from mils_jax.errors import UserError

FLAGS = {name: flag.default for name, flag in COMMANDS['train'].flags.items()}
ALL = {'distributed': True, 'coordinator': 'node1:1234', 'process_id': '1', 'num_processes': '2'}


def test_without_flags_a_process_is_alone(monkeypatch):
  monkeypatch.setenv('SLURM_NTASKS', '2')  # a launcher alone asks for nothing
  assert place_from_flags(FLAGS) is None


def test_the_flags_give_the_place():
  assert place_from_flags(FLAGS | ALL) == Place('node1:1234', 2, 1)


def test_without_addresses_the_cluster_is_asked():
  assert place_from_flags(FLAGS | {'distributed': True}) == Place()


@pytest.mark.parametrize(('changes', 'message'), [
    ({'distributed': False}, '--coordinator needs --distributed'),
    ({'coordinator': ''}, '--coordinator is missing'),
    ({'num_processes': ''}, '--num_processes is missing'),
    ({'coordinator': 'node1'}, '--coordinator=node1: expected HOST:PORT'),
    ({'coordinator': ':1234'}, '--coordinator=:1234: expected HOST:PORT'),
    ({'process_id': 'one'}, '--process_id=one: expected a whole number'),
    ({'process_id': '-1'}, '--process_id=-1: expected a whole number'),
    ({'process_id': '2'}, '--process_id=2: must be below --num_processes=2'),
])
def test_flags_that_do_not_fit_together_are_refused(changes, message):
  with pytest.raises(UserError, match=message):
    place_from_flags(FLAGS | ALL | changes)


@pytest.mark.parametrize('port', ['taken', 99999])
def test_a_port_that_cannot_be_opened_is_refused(port):
  with socket.socket() as taken:
    taken.bind(('', 0))
    taken.listen()
    coordinator = f'localhost:{taken.getsockname()[1] if port == "taken" else port}'
    with pytest.raises(UserError, match=f'--coordinator={coordinator}: port .* cannot be opened'):
      join(Place(coordinator, 2, 0), 5, 5)


def test_alone_a_line_is_printed_and_the_code_returned(capsys):
  assert leave(2, 'error: so it is') == 2
  assert capsys.readouterr().err == 'error: so it is\n'


LEAVES = """
import jax
from mils_jax.distributed import launch, processes
processes.count = lambda: 2
processes.wait_for_all = lambda name, seconds=0: {}
print('a line that nobody reads')
launch.leave({}, {!r}, together=True)
"""


OPTIONS = {'cwd': Path(__file__).parents[2], 'env': {**os.environ, 'PYTHONUNBUFFERED': ''}, 'text': True}


@pytest.mark.parametrize('output', ['pipe', 'none'])
def test_an_output_that_nobody_reads_changes_no_exit_code(output):
  program = [sys.executable, '-c', LEAVES.format(None, 143, 'stopped')]
  if output == 'none':
    program = ['sh', '-c', 'exec "$@" >&-', 'sh', *program]
  with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **OPTIONS) as process:
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ('stopped\n', 143)


def test_a_process_that_loses_another_at_the_end_reports_it():
  failing = '(_ for _ in ()).throw(jax.errors.JaxRuntimeError("gone"))'
  done = subprocess.run([sys.executable, '-c', LEAVES.format(failing, 0, '')], capture_output=True,
                        check=False, **OPTIONS)
  assert (done.returncode, done.stdout) == (1, 'a line that nobody reads\n')
  assert done.stderr == 'failed: another process was lost before all had finished\n'
