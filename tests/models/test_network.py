"""The contract of a network, and the registry."""

import dataclasses
import importlib
import pkgutil

import pytest
from flax import linen as nn

import mils_jax.models
from mils_jax.config import options_of
from mils_jax.models import networks, register, title_of
from mils_jax.models.network import ImageClassifier, Network


def test_a_network_without_a_field_of_the_contract_is_refused_when_it_is_declared():
  """Not when its training has ended, and its multiply-adds are counted."""
  class Incomplete(nn.Module):
    num_classes: int
    in_channels: int = 3
    imputation: str = 'zero'
    rescale: bool = False
    axis_name: str | None = None

    def __call__(self, images, train, present=None, mask=None):
      return images

  with pytest.raises(TypeError, match='Incomplete is no network: it lacks the fields conditioning, implementation, '):
    register('incomplete', title='Incomplete')(Incomplete)
  assert 'incomplete' not in networks()


def test_a_network_that_is_called_in_another_way_is_refused():
  class Unaware(ImageClassifier):
    def __call__(self, images, train):
      return images

  with pytest.raises(TypeError, match=r'Unaware.__call__ takes self, images, train; expected .*, present, mask'):
    register('unaware', title='Unaware')(Unaware)
  assert 'unaware' not in networks()


def test_a_name_is_one_networks():
  with pytest.raises(ValueError, match="network 'wide_cnn' is WideCNN already"):
    register('wide_cnn', title='Other')(networks()['resnet34'])
  assert title_of('wide_cnn') == 'WideCNN'


def test_every_module_of_the_package_is_imported_so_that_a_new_network_is_its_own_file():
  for module in pkgutil.iter_modules(mils_jax.models.__path__):
    importlib.import_module(f'mils_jax.models.{module.name}')
  declared = {owner for owner in ImageClassifier.__subclasses__() if owner.__module__.startswith('mils_jax.models.')}
  assert declared == set(networks().values())


@pytest.mark.parametrize('name', networks())
def test_the_program_sets_what_the_user_does_not(name):
  """Each field of the contract is either; every option says what it is for."""
  network = networks()[name]
  program = {'num_classes', 'in_channels', 'implementation', 'dtype', 'axis_name'}
  options = options_of(network)
  assert program.isdisjoint(options)
  own = {field.name for field in dataclasses.fields(network) if field.name not in ('parent', 'name')}
  assert set(Network.__annotations__) <= own == program | set(options)
  assert all(field.metadata['option'].help for field in options.values())


def test_a_network_without_a_configuration_keeps_to_what_its_options_declare():
  for network, name, value in (('wide_cnn', 'dropout', 1.0), ('wide_cnn', 'stages', 1),
                               ('dynamic_resnet12', 'blocks', 0)):
    with pytest.raises(ValueError, match=f'^{name}={value}: must be at least'):
      networks()[network](3, **{name: value})


def test_the_title_of_a_network_that_is_not_here_is_its_name():
  assert [title_of(name) for name in ('resnet34', 'older')] == ['ResNet34', 'older']
