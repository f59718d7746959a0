"""Commands that the program suggests are in the form in which it was started."""

import shlex

import pytest

from mils_jax import invocation
from mils_jax.command_line import read_words

FORMS = [
    (['main.py'], 'python main.py --mode predict --workdir', '--mode predict'),
    (['main.py', 'train', 'task_a'], 'python main.py predict', 'python main.py predict'),
    (['a checkout/main.py', '--mode=cost'], "python 'a checkout/main.py' --mode predict --workdir", '--mode predict'),
    (['/env/bin/mils-jax', 'train', 'task_a'], 'mils-jax predict', 'mils-jax predict'),
    (['/env/lib/mils_jax/__main__.py', 'train'], 'python -m mils_jax predict', 'python -m mils_jax predict'),
]


@pytest.mark.parametrize(('started', 'command', 'mode'), FORMS)
def test_a_suggestion_can_be_pasted_and_does_what_it_names(started, command, mode, tmp_path, monkeypatch):
  (tmp_path / 'runs/a b').mkdir(parents=True)
  monkeypatch.chdir(tmp_path)
  invocation.started_with(started)
  suggested = invocation.command('predict', workdir='runs/a b', input='photos', channels='R,-', all_classes=True)
  assert suggested.startswith(f"{command} 'runs/a b'")
  assert invocation.mode('predict') == mode
  program = 3 if '-m' in suggested else 1 + suggested.startswith('python')
  words = read_words([started[0], *shlex.split(suggested)[program:]])
  assert (words.command, words.config, words.workdir, words.fields) == ('predict', '', 'runs/a b', [])
  assert words.flags == {'input': ['photos'], 'channels': 'R,-', 'output': '', 'all_classes': True, 'tile': '',
                         'stride': ''}


def test_the_next_command_stands_on_a_line_of_its_own():
  assert invocation.next_lines('a page', 'report', runs='runs/a') == ['', 'next: a page:', '  mils-jax report runs/a']


def test_training_is_what_main_does_without_a_mode():
  fields = {'config': 'task_a', 'config.train.epochs': 3, 'workdir': 'x'}
  assert invocation.command('train', **fields) == 'mils-jax train task_a --config.train.epochs=3 --workdir x'
  invocation.started_with(['main.py'])
  assert invocation.command('train', **fields) == 'python main.py --config task_a --config.train.epochs=3 --workdir x'


def test_a_command_is_shown_as_it_was_typed():
  assert invocation.as_typed(['main.py', '--workdir', 'a b']) == "python main.py --workdir 'a b'"
  assert invocation.as_typed(['/env/bin/mils-jax', 'report', 'runs/*']) == "mils-jax report 'runs/*'"
