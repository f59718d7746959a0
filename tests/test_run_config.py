"""A run's configuration: read, refused, kept in a folder and found again."""

import dataclasses

import pytest

from configs import task_a, task_b
from mils_jax import schema
from mils_jax.config import Section, describe, option
from mils_jax.errors import UserError
from mils_jax.run_config import RunConfig, check_owner, claim, saved_config
from mils_jax.training.run_folder import RunFolder


def config(**train):
  values = task_b.get_config()
  values.train.update(train)
  return RunConfig.read(values)


def test_a_configuration_survives_its_file(tmp_path):
  for task in (task_a, task_b):
    before = RunConfig.read(task.get_config('mini_imagenet'))
    folder = RunFolder(tmp_path / before.name)
    claim(folder, before)
    assert saved_config(folder) == before
    assert folder.read_config()[schema.KEY] == schema.VERSION


def test_a_folder_is_found_again_by_what_results_depend_on(tmp_path):
  folder, first = RunFolder(tmp_path), config()
  claim(folder, first)
  claim(folder, dataclasses.replace(first, runtime=dataclasses.replace(first.runtime, devices=2),
                                    checkpoint=dataclasses.replace(first.checkpoint, every_steps=5)))
  with pytest.raises(UserError, match=r'train\.seed is 0 there, 1 here'):
    claim(folder, config(seed=1))
  check_owner(folder, config(seed=1), free=('train',))
  check_owner(folder, config(seed=1), free=('train.seed',))


@pytest.mark.parametrize(('values', 'message'), [
    ({'model': {'name': 'wide'}}, "unknown model.name 'wide'. Did you mean 'wide_cnn'?"),
    ({'optimiser': {}}, "unknown config section 'optimiser'. Did you mean 'optimizer'?"),
    ({'train': {'epoch': 3}}, "unknown config field 'train.epoch'. Did you mean 'train.epochs'?"),
    ({'train': 3}, 'train=3: expected a section with fields such as epochs'),
    ({'train': {'epochs': True}}, 'train.epochs=True: expected a whole number'),
    ({'train': {'epochs': '3'}}, "train.epochs='3': expected a whole number"),
    ({'train': {'label_smoothing': 1.0}}, 'train.label_smoothing=1.0: must be at least 0 and below 1'),
    ({'optimizer': {'learning_rate': float('inf')}}, 'optimizer.learning_rate=inf: must be at least 0 and finite'),
    ({'model': {'name': 'wide_cnn', 'strides': ['a', 2]}}, "model.strides=a,2: expected whole numbers in brackets"),
    ({'data': {'shapes': {'num_val': 0}}}, 'data.shapes.num_val=0: must be at least 1'),
])
def test_what_cannot_be_is_one_line(values, message):
  with pytest.raises(UserError) as raised:
    RunConfig.read({'model': {'name': 'wide_cnn'}, **values})
  assert message in str(raised.value)
  assert '\n' not in str(raised.value)


def test_every_option_has_a_help_and_a_value_that_it_can_take():
  for task in (task_a, task_b):
    for name, value, declared in RunConfig.read(task.get_config()).options():
      assert declared.help, name
      declared.check(name, value)


def test_a_range_is_told_as_it_is_declared():
  options = [option(0.5, '', low=0, high=1), option(0.5, '', above=0, below=1), option(1, '', low=1), option((1,), '')]
  told = [(field.metadata['option'].kind, field.metadata['option'].interval) for field in options]
  assert told == [('float', '0..1'), ('float', '> 0 and < 1'), ('int', '>= 1'), ('tuple of int', '')]


def test_an_option_with_a_wrong_attribute_is_none():
  with pytest.raises(TypeError, match='lowest'):
    option(0, 'of something', lowest=1)


@dataclasses.dataclass(frozen=True)
class Grown(Section):
  """A section with an option that came later, whose default is not what was before it."""

  section = 'grown'
  size: int = option(3, 'of it')
  smoothing: float = option(0.999, 'new', before=0.0)


def test_an_option_that_came_later_means_as_before_it_existed_in_older_files():
  assert (Grown().smoothing, Grown.read({'size': 3}).smoothing) == (0.999, 0.999)
  assert [Grown.read(values, older=True).smoothing for values in ({'size': 3}, {'smoothing': 0.5})] == [0.0, 0.5]
  assert [name for name, _, _ in describe({'grown': Grown()})] == ['grown.size', 'grown.smoothing']


def test_whole_numbers_and_lists_of_a_file_take_the_options_type():
  read = RunConfig.read({'model': {'name': 'wide_cnn', 'strides': [1, 2, 2, 2]}, 'optimizer': {'learning_rate': 1}})
  assert (read.model.strides, read.optimizer.learning_rate) == ((1, 2, 2, 2), 1.0)
  assert isinstance(read.optimizer.learning_rate, float)
