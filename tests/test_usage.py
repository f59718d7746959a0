"""--help, and how little it and a mistake need."""

import json
import subprocess
import sys

import pytest

from mils_jax.builtin_configs import builtin_configs
from mils_jax.cli import main
from mils_jax.commands import COMMANDS


def test_help_lists_every_command_and_every_built_in_configuration(capsys):
  assert main(['mils-jax', '--help']) == 0
  out = capsys.readouterr().out
  assert all(f'\n  {name} ' in out for name in [*COMMANDS, *builtin_configs()])
  assert "\n  mils-jax report 'runs/*'\n" in out


@pytest.mark.parametrize('name', COMMANDS)
def test_a_commands_help_lists_its_flags_and_two_examples(name, capsys):
  assert main(['mils-jax', name, '--help']) == 0
  out = capsys.readouterr().out
  assert COMMANDS[name].help in out
  assert all(f'\n  --{flag} ' in out for flag in [*COMMANDS[name].flags, 'workdir'])
  assert len(out.partition('\nexamples:\n')[2].splitlines()) == 2
  assert out.count(f'\n  mils-jax {name} ') == 2
  assert main(['main.py', '--mode', name, '--help']) == 0
  assert 'mils-jax' not in capsys.readouterr().out


def test_help_beside_a_configuration_lists_its_fields(capsys):
  assert main(['mils-jax', 'train', 'task_b', '--help']) == 0
  out = capsys.readouterr().out
  assert '  --config.train.epochs=8\n' in out
  assert "('sgd', 'adamw', 'muon'; default 'sgd')\n" in out
  assert '(float >= 0 and < 1; default 0.1)\n' in out
  assert '(bool; default False)\n' in out
  assert main(['mils-jax', 'sweep', 'table2', '--help']) == 0
  assert '--config.common.FIELD=VALUE changes a field of all its runs' in capsys.readouterr().out


def test_a_reader_that_has_read_enough_of_the_help_is_no_failure():
  with subprocess.Popen([sys.executable, '-m', 'mils_jax', '--help'], stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE) as process:
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b'', 0)


@pytest.mark.parametrize('words', [
    ['--help'], ['--version'], ['train', '--help'], [], ['trian', 'task_a'], ['train', 'task_c'], ['train'],
    ['train', '--workdri=x'], ['evaluate', '/'], ['--mode=x'], ['--mode=train'], ['--mode=cost', '--workdir=/nowhere'],
    ['--config=configs/task_c.py'],
], ids=' '.join)
def test_help_and_mistakes_in_the_words_are_answered_without_jax(words):
  code = f"""
import json, sys
from mils_jax.cli import main
code = main(['mils-jax', *{words!r}])
print(json.dumps([code, sorted({{'jax', 'flax', 'numpy', 'matplotlib'}} & sys.modules.keys())]))
"""
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  code, loaded = json.loads(done.stdout.splitlines()[-1])
  assert loaded == []
  assert code == (0 if {'--help', '--version'} & set(words) else 2)
  assert done.stderr.count('\n') == (code == 2)
