import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

import mils_jax
from configs import task_b
from mils_jax import build
from mils_jax.channels import ChannelSpec
from mils_jax.classifier import Classifier
from mils_jax.data.cache.building import open_dataset
from mils_jax.errors import UserError
from mils_jax.restore import restore
from mils_jax.run_config import RunConfig, saved_config
from mils_jax.training.record import ModelSpec
from mils_jax.training.run_folder import RunFolder
from tests.data.fakes import memory_source, read_pixels


@pytest.fixture(scope='module', params=['wide_cnn', 'dynamic_resnet12'])
def run(request, small_runs):
  return small_runs[request.param]


@pytest.fixture(scope='module')
def classifier(run):
  return mils_jax.load(run)


@pytest.fixture(scope='module')
def images(run):
  """The run's own test split, as it is stored."""
  return np.asarray(build.open_data(saved_config(RunFolder(run))).splits['test'].images)


def test_a_loaded_run_predicts_what_the_run_predicted_of_its_test_split(run, classifier, images):
  with np.load(run / 'predictions.npz') as predictions:
    logits = predictions['logits']
  found = classifier(images)
  assert found.shape == (41, 20)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, softmax(logits[:, :20], axis=1), rtol=1e-4, atol=1e-6)
  assert (classifier.image_size, classifier.channels, len(classifier.classes)) == ((16, 16), ('R', 'G', 'B'), 20)


def test_values_without_a_finite_result_are_named(run, images):
  large = images[:3].astype(np.float32)
  large[1, ::2] = 3e38
  with (pytest.raises(UserError, match=r"image 1: the network's outputs are not finite: its values .* to 3e\+38"),
        pytest.warns(UserWarning, match='far outside')):
    mils_jax.load(run)(large)
  with pytest.raises(UserError, match='image 1: '), pytest.warns(UserWarning, match='far outside'):
    mils_jax.load(run).compiled(batch=3)(large)


@pytest.mark.parametrize('dtype', ['int16', 'float32'])
@pytest.mark.parametrize('normalization', ['data', 'imagenet'])
def test_a_pixel_without_data_gets_what_it_got_in_training(tmp_path, dtype, normalization):
  source = memory_source(dtype=dtype, shape=(4, 4, 3))
  images = source.images['train'].copy()
  images[0, :2, 1] = -9999
  source.images['train'], source.channels = np.ma.masked_equal(images, -9999), ('R', 'G', 'B')
  dataset = open_dataset(source, tmp_path)
  config = task_b.get_config()
  config.data.update(normalization=normalization, nodata='-9999')
  read = RunConfig.read(config)
  spec = ModelSpec(build.channel_spec(read, dataset), ('a', 'b'), (4, 4), '', ('R', 'G', 'B'))
  restored = SimpleNamespace(spec=spec, model=SimpleNamespace(num_classes=2), config=read, variables={},
                             names_given=False)
  inputs, present = Classifier(restored, tmp_path).place(images[0], 'RGB')
  assert present.all()
  assert np.array_equal(inputs, dataset.splits['train'].images[0].astype(np.float32))
  assert ChannelSpec.from_json(spec.channels.to_json()) == spec.channels


@pytest.mark.parametrize('size', [16, 24])
def test_masked_pixels_and_channels_have_no_data_in_a_call_and_in_a_compiled_function(run, images, size):
  classifier = mils_jax.load(run)
  plain = images[:3].repeat(2, 1).repeat(2, 2)[:, :size, :size].astype(np.int16)
  plain[0, :size // 2, :, 1] = -9999
  plain[1, ..., 2] = -9999
  masked = np.ma.masked_equal(plain, -9999)
  other = np.ma.masked_array(np.where(masked.mask, 77, plain), masked.mask)
  found = classifier(masked)
  assert (found == classifier(other)).all()
  assert (found == classifier.compiled(batch=4)(masked)).all()
  assert (classifier(np.ma.masked_array(images)) == classifier(images)).all()
  np.testing.assert_allclose(found[1], classifier(plain[1, ..., :2], 'RG')[0], rtol=1e-5)
  if size == 16:
    filled = np.where(masked.mask, np.array(classifier.spec.fill), plain)
    np.testing.assert_allclose(found[0], classifier(filled[0])[0], rtol=1e-5)


def test_named_channels_give_the_same_bits_in_any_order(classifier, images):
  plain = classifier(images)
  assert (classifier(images[..., [2, 0, 1]], channels=['B', 'R', 'G']) == plain).all()
  assert (classifier(images[..., ::-1], 'BGR') == plain).all()
  assert not np.allclose(classifier(images[..., ::-1]), plain)


def test_a_channel_that_is_left_out_does_not_count_whatever_it_holds(classifier, images):
  two = classifier(images[..., [2, 0]], channels=['B', 'R'])
  spoilt = images.astype(np.float64)
  spoilt[..., 1] = np.nan
  assert (classifier(spoilt, channels=['R', None, 'B']) == two).all()
  assert (classifier(spoilt, channels='R,-,B') == two).all()
  assert classifier.missing(['B', 'R']) == ('G',)
  assert not np.allclose(two, classifier(images))
  # missing is not zero
  assert not np.allclose(two, classifier(np.where(np.arange(3) == 1, 0, images)))
  with pytest.raises(UserError, match='non-finite values, in channel G'):
    classifier(spoilt)


def test_number_types_single_images_and_none(classifier, images):
  plain = classifier(images[:2])
  for kind in (np.float64, np.int32, np.uint16, np.float32):
    assert (classifier(images[:2].astype(kind)) == plain).all()
  assert classifier(images[0]).shape == (1, 20)
  np.testing.assert_allclose(classifier(images[0])[0], plain[0], rtol=1e-5)
  assert classifier(images[:0]).shape == (0, 20)


def compilations(caplog):
  """How often the classifier's function was compiled, by JAX's log."""
  return sum('Finished XLA compilation of jit(probabilities)' in record.getMessage() for record in caplog.records)


def test_more_images_than_a_batch_each_have_their_own_row_and_compile_once(run, images, caplog):
  classifier = mils_jax.load(run)
  with jax.log_compiles():
    many = classifier(np.concatenate([images, images, images[::-1]]))
    once = classifier(images)
  assert compilations(caplog) == 1
  np.testing.assert_allclose(many, np.concatenate([once, once, once[::-1]]), rtol=1e-5)


def test_another_size_becomes_what_the_dataset_cache_makes_of_it(classifier, tmp_path):
  photo = np.random.default_rng(0).integers(0, 255, (40, 52, 3), np.uint8)
  Image.fromarray(photo).save(tmp_path / 'photo.png')
  cached = read_pixels(tmp_path / 'photo.png', 16)
  assert (classifier(photo) == classifier(cached)).all()
  assert (classifier(photo[..., [2, 0]], 'BR') == classifier(cached[..., [2, 0]], 'BR')).all()


@pytest.mark.parametrize(('shape', 'channels', 'message'), [
    ((1, 16, 16, 3), ['R', 'G', 'X'], "unknown channel 'X'. Valid: R, G, B"),
    ((1, 16, 16, 2), ['R', 'R'], "channel 'R' is given twice"),
    ((1, 16, 16, 2), ['R'], r'1 channel name \(R\) for images of 2 channels'),
    ((1, 16, 16, 2), [None, None], r'none of the channels -, - is one that the model was trained on: R, G, B'),
    ((1, 16, 16, 4), None, '4 channels without names; the model has 3 input channels: R, G, B'),
    ((16, 16), None, r'expected \(N, H, W, C\) or \(H, W, C\)'),
    ((1, 0, 16, 3), None, 'expected numbers'),
])
def test_what_does_not_fit_is_named(classifier, shape, channels, message):
  with pytest.raises(UserError, match=message):
    classifier(np.zeros(shape), channels)


def test_input_channels_that_training_never_filled_stay_missing(run, images):
  restored = restore(RunFolder(run))
  assert restored.spec.trained == ('R', 'G', 'B')
  classifier = mils_jax.load(run)
  two = classifier(images, ['R', None, 'B'])
  classifier.trained = ('R', 'B')
  assert (classifier(images) == two).all()
  assert classifier.missing('RGB') == ('G',)
  with pytest.raises(UserError, match='none of the channels G is one that the model was trained on: R, B'):
    classifier(images[..., 1:2], ['G'])


def test_a_folder_without_a_run_or_a_checkpoint_is_refused(tmp_path, run):
  with pytest.raises(UserError, match='is no run folder'):
    mils_jax.load(tmp_path)
  (tmp_path / 'config.json').write_bytes((run / 'config.json').read_bytes())
  with pytest.raises(UserError, match='has no checkpoint yet'):
    mils_jax.load(tmp_path)


def test_importing_the_package_loads_no_library():
  code = 'import sys, mils_jax; sys.exit(any(name in sys.modules for name in ("jax", "numpy", "flax")))'
  assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def test_a_compiled_function_gives_the_same_without_compiling_again(run, images, caplog):
  classifier = mils_jax.load(run)
  with jax.log_compiles():
    classify = classifier.compiled(['B', None, 'R'], batch=4)
    assert compilations(caplog) == 1
    alone, three, one, none = (classify(part) for part in (images[:4], images[:3], images[0], images[:0]))
    assert compilations(caplog) == 1
  assert (alone == classifier(images[:4], ['B', None, 'R'])).all()
  np.testing.assert_allclose(one, classifier(images[:1], ['B', None, 'R']), rtol=1e-5)
  assert (three.shape, none.shape) == ((3, 20), (0, 20))
  assert classifier.compiled(batch=1)(images[0]).shape == (1, 20)  # all input channels


def test_a_compiled_function_may_be_called_from_several_threads(run, images):
  classify = mils_jax.load(run).compiled(batch=4)
  parts = [images[start:start + 4] for start in range(0, 40, 4)]
  expected = [classify(part) for part in parts]
  with ThreadPoolExecutor(4) as pool:
    assert all((found == one).all() for found, one in zip(pool.map(classify, parts), expected, strict=True))


def test_what_a_compiled_function_cannot_take_is_named(classifier, images):
  classify = classifier.compiled('RG', batch=2)
  for wrong, message in ((images[:3, ..., :2], '3 images; compiled for at most 2'),
                         (images[:1], r'images of 3 channels; compiled for 2 \(R, G\)'),
                         (images[0, ..., 0], r'expected \(N, H, W, C\) or \(H, W, C\)')):
    with pytest.raises(UserError, match=message):
      classify(wrong)
  with pytest.raises(UserError, match="unknown channel 'X'"):
    classifier.compiled(['X'])
  with pytest.raises(UserError, match='batch=0: expected a number of images, at least 1'):
    classifier.compiled('RG', batch=0)
