"""Verbs and flags ask for the same."""

import pytest

from mils_jax.command_line import read_words
from mils_jax.commands import COMMANDS
from mils_jax.errors import UserError

SAME = [
    ('train task_a', '--config task_a'),
    ('train task_a:cifar10 --config.train.epochs 3 --workdir=x',
     '--config=task_a:cifar10 --config.train.epochs 3 --workdir x'),
    ('train RUN', '--workdir RUN'),
    ('evaluate task_b --workdir RUN --split=val', '--mode=evaluate --config task_b --workdir=RUN --split val'),
    ('predict RUN photos --all_classes', '--mode predict --workdir RUN --input photos --all_classes'),
    ('predict --channels R,- RUN photos', '--mode predict --workdir RUN --input photos --channels R,-'),
    ('cost own.py --xla', '--mode cost --config own.py --xla'),
    ('sweep table2 --dry_run', '--mode sweep --config table2 --dry_run'),
    ('report runs/*', '--mode report --runs runs/*'),
    ('report', '--mode report'),
]


@pytest.mark.parametrize(('verbs', 'flags'), SAME)
def test_a_verb_and_plain_words_stand_for_flags(verbs, flags, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'RUN').mkdir()
  assert read_words(['mils-jax', *verbs.split()]) == read_words(['main.py', *flags.split()])


def test_a_pattern_that_the_shell_has_expanded_is_many_words():
  assert read_words(['mils-jax', 'report', 'runs/a', 'runs/b']).flags['runs'] == ('runs/a', 'runs/b')


@pytest.mark.parametrize(('words', 'message'), [
    ('trian task_a', "unknown command 'trian'. Did you mean 'train'? Valid: train, evaluate, "),
    ('train task_c', "unknown configuration or run folder 'task_c'. Did you mean 'task_b'? Valid: any_channels, "),
    ('evaluate runs/task_4', "Did you mean 'runs/task_a-4'?"),
    ('sweep tabel2', "unknown configuration 'tabel2'. Did you mean 'table2'? Valid: generalist, landcover, "),
    ('predict task_a --keep=2', '--keep is no flag of mils-jax predict. What takes it: compress'),
    ('train task_a photos', "'photos' is a word too many. mils-jax train --help shows"),
    ('train task_a --config=task_b', "'task_a' stands beside --config=task_b: give one of them"),
    ('predict runs/task_a-4 photos --input=x', "'photos' stands beside --input=x: give one of them"),
    ('report runs/a --runs=others', "'runs/a' stands beside --runs=others: give one of them"),
    ('cost task_a --mode=train', '--mode=train stands beside the command cost'),
    ('train --config.train.epochs=3', '--config.FIELD needs a configuration: mils-jax train CONFIG --workdir RUN'),
    ('report runs --config.train.epochs=3', 'mils-jax report takes no --config.FIELD: every run has its own'),
    ('train task_a --split=val', '--split is no flag of mils-jax train. What takes it: evaluate'),
    ('predict runs/task_a-4 --input=a --input b', '--input is given 2 times; expected once, with all its words after'),
    ('train task_a --workdri=x', "unknown flag '--workdri'. Did you mean '--workdir'? Valid: --config, "),
])
def test_a_wrong_word_is_told_with_what_is_right(words, message, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'runs/task_a-4').mkdir(parents=True)
  (tmp_path / 'runs/task_a-4/config.json').touch()
  with pytest.raises(UserError) as raised:
    read_words(['mils-jax', *words.split()])
  assert message in str(raised.value)
  assert '\n' not in str(raised.value)


def test_every_command_has_two_examples_of_its_own_flags():
  for name, command in COMMANDS.items():
    assert len(command.examples) == 2, name
    for example in command.examples:
      assert {key for key in example if '.' not in key} <= {'config', 'workdir', *command.flags}
