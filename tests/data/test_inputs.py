import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image

from mils_jax.data.inputs import fit, open_inputs
from mils_jax.errors import UserError

IMAGE = np.arange(8 * 8 * 4, dtype=np.uint8).reshape(8, 8, 4)
COLOUR = ('R', 'G', 'B')


def fitted(own, input_channels):
  """Which channel of the image each input channel gets."""
  image, names, _ = fit(IMAGE[..., :len(own)], own, input_channels)
  own_channels = {IMAGE[..., channel].tobytes(): channel for channel in range(4)}
  return {name: own_channels[image[..., place].tobytes()] for place, name in enumerate(names) if name}


@pytest.mark.parametrize(('own', 'input_channels', 'expected'), [
    (('grey',), COLOUR, {'R': 0, 'G': 0, 'B': 0}),
    (('grey', 'alpha'), COLOUR, {'R': 0, 'G': 0, 'B': 0}),
    (('grey', 'alpha'), (*COLOUR, 'alpha'), {'R': 0, 'G': 0, 'B': 0, 'alpha': 1}),
    (('grey', 'nir'), (*COLOUR, 'nir'), {'nir': 1}),
    (('grey',), ('grey', *COLOUR), {'grey': 0}),
])
def test_only_a_grey_image_is_spread_over_the_colours(own, input_channels, expected):
  assert fitted(own, input_channels) == expected


def test_a_grey_channel_among_others_is_no_colour():
  with pytest.raises(UserError, match=r'nir, grey, .*none fits'):
    fitted(('nir', 'grey'), COLOUR)


@pytest.mark.parametrize(('name', 'save'), [
    ('x.npy', lambda path: np.save(path, IMAGE[..., :3])),
    ('y.npy', lambda path: np.save(path, IMAGE[None, ..., :3])),
    ('x.npz', lambda path: np.savez(path, images=IMAGE[None, ..., :3])),
])
def test_three_unnamed_channels_of_an_array_fill_the_first_input_channels(tmp_path, name, save):
  save(tmp_path / name)
  for input_channels in (('red', 'green', 'blue'), ('nir', *COLOUR)):
    _, names, notes = fit(*open_inputs(str(tmp_path / name), 8, '').read(0), input_channels)
    assert tuple(names) == input_channels[:3]
    assert notes == [f'channels without names filled the first input channels: {", ".join(input_channels[:3])}']


def test_three_channels_of_an_image_are_red_green_and_blue(tmp_path):
  Image.fromarray(IMAGE[..., :3]).save(tmp_path / 'x.png')
  tifffile.imwrite(tmp_path / 'x.tif', IMAGE[..., :3], photometric='rgb')
  for name in ('x.png', 'x.tif'):
    assert open_inputs(str(tmp_path / name), 8, '').read(0)[1] == COLOUR


def save_to(path, save, *arrays, **named):
  with open(path, 'wb') as file:  # NumPy would append the suffix that fits
    save(file, *arrays, **named)
  return str(path)


def test_an_array_file_is_what_it_holds_whatever_it_is_called(tmp_path):
  archive = open_inputs(save_to(tmp_path / 'x.npy', np.savez, test_images=IMAGE[None], bands=list('wxyz')), 8, '')
  assert archive.example_ids == ['test_images[0]']
  assert archive.read(0)[1] == tuple('wxyz')
  many = open_inputs(save_to(tmp_path / 'x.npz', np.save, np.stack([IMAGE, IMAGE + 1])), 8, '')
  assert many.example_ids == ['x[0]', 'x[1]']
  assert (many.read(1)[0] == IMAGE + 1).all()
  with pytest.raises(UserError, match=r'one array of the shape \(8, 8, 4\); call an image \.npy'):
    open_inputs(save_to(tmp_path / 'one.npz', np.save, IMAGE), 8, '')


@pytest.mark.parametrize(('arrays', 'message'), [
    ({'images': np.zeros((10**12, 0, 4, 3), np.uint8)}, 'holds no images'),
    ({'images': IMAGE[None], 'bands': [['a', 'b'], ['c', 'd']]}, r'bands has the shape \(2, 2\)'),
])
def test_arrays_that_are_no_images_or_names(tmp_path, arrays, message):
  with pytest.raises(UserError, match=message):
    open_inputs(save_to(tmp_path / 'x.npz', np.savez, **arrays), 8, '')


def test_a_member_that_is_no_array(tmp_path):
  path = tmp_path / 'x.npz'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('images', b'text')
  with pytest.raises(UserError, match='images has the shape'):
    open_inputs(str(path), 8, '')
