import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mils_jax.channels import ChannelSpec
from mils_jax.data.cache.dataset import Split
from mils_jax.data.loader import place_split
from mils_jax.distributed.devices import AXIS, Devices
from mils_jax.metrics.predictions import Evaluator, Predictions
from mils_jax.models import WideCNN

LABELS = np.array([0, 0, 0, 1], np.int32)
LOGITS = np.array([[2.0, 0.0, 1.0], [0, 3, 0], [5, 1, 1], [0, 1, 0]], np.float32)
PREDICTIONS = Predictions(np.array(list('abcd')), LABELS, LOGITS)


def test_measures_follow_their_definitions():
  assert (PREDICTIONS.accuracy.correct, PREDICTIONS.accuracy.count) == (3, 4)
  assert PREDICTIONS.balanced_accuracy == pytest.approx((2 / 3 + 1) / 2)
  probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
  assert PREDICTIONS.loss == pytest.approx(-np.log(probabilities[np.arange(4), LABELS]).mean(), rel=1e-6)


def test_saved_predictions_are_read_back(tmp_path):
  PREDICTIONS.save(tmp_path / 'predictions.npz')
  with np.load(tmp_path / 'predictions.npz', allow_pickle=False) as saved:
    np.testing.assert_array_equal(saved['example_id'], PREDICTIONS.example_ids)
    np.testing.assert_array_equal(saved['label'], LABELS)
    np.testing.assert_array_equal(saved['logits'], LOGITS)
  loaded = Predictions.load(tmp_path / 'predictions.npz')
  np.testing.assert_array_equal(loaded.logits, LOGITS)
  assert [path.name for path in tmp_path.iterdir()] == ['predictions.npz']


@pytest.mark.parametrize('mode', ['device', 'host'])
@pytest.mark.parametrize('count', [1, 2, 4])
def test_every_example_is_predicted_once_and_in_order_on_any_number_of_devices(mode, count):
  rng = np.random.default_rng(0)
  split = Split(rng.integers(0, 255, (13, 8, 8, 3), np.uint8), rng.integers(0, 5, 13, np.int32),
                np.array([f'image {number}' for number in range(13)]))
  mapping = ChannelSpec(('R', 'G', 'B'), ('',) * 3, (100.0,) * 3, (50.0,) * 3).map_from(['R', 'G', 'B'])
  model = WideCNN(5, stages=2, width=16, axis_name=AXIS)
  variables = jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False))()
  devices = Devices(count)
  evaluator = Evaluator(model, mapping, devices, batch_size=4)
  predictions = evaluator(devices.replicate(variables), split, place_split(split, devices, mode), 'test')
  images, present = mapping.apply(jnp.asarray(split.images))
  expected = model.apply(variables, images, train=False, present=present)
  np.testing.assert_allclose(predictions.logits, expected, atol=1e-5)
  np.testing.assert_array_equal(predictions.example_ids, split.example_ids)
  np.testing.assert_array_equal(predictions.labels, split.labels)


@pytest.mark.parametrize('count', [1, 2])
def test_each_example_may_keep_channels_of_its_own(count):
  """Where some lack a channel by themselves too."""
  rng = np.random.default_rng(1)
  own, keep = rng.random((13, 3)) < 0.8, rng.random((13, 3)) < 0.5
  own[:, 1] = keep[:, 1] = True
  split = Split(rng.integers(0, 255, (13, 8, 8, 3), np.uint8), rng.integers(0, 5, 13, np.int32),
                np.array([f'image {number}' for number in range(13)]), own)
  mapping = ChannelSpec(('R', 'G', 'B'), ('',) * 3, (100.0,) * 3, (50.0,) * 3).map_from(['R', 'G', 'B'])
  model = WideCNN(5, stages=2, width=16, conditioning='presence', axis_name=AXIS)
  variables = jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False))()
  devices = Devices(count)
  evaluator = Evaluator(model, mapping, devices, batch_size=4)
  predictions = evaluator(devices.replicate(variables), split, place_split(split, devices), 'test', keep)
  images, present = mapping.apply(jnp.asarray(split.images), own)
  expected = model.apply(variables, images, train=False, present=present & keep)
  np.testing.assert_allclose(predictions.logits, expected, atol=1e-5)
  rows = np.array([11, 2, 3, 5, 7], np.int32)  # the examples' own, in this order
  (first, second) = evaluator.outputs(devices.replicate(variables), rows, place_split(split, devices), keep[rows])
  np.testing.assert_allclose(np.concatenate([first, second]), expected[rows], atol=1e-5)
