import io
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from mils_jax.data.sources.images import (
    MAX_VALUES,
    SMALL_FILE,
    channels_last,
    read_image,
    resize_square,
    strict_warnings,
)
from mils_jax.errors import UserError
from tests.data.fakes import write_image

tifffile = pytest.importorskip('tifffile')


def one_line(raised, *parts):
  text = str(raised.value)
  assert '\n' not in text
  for part in parts:
    assert str(part) in text


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'L'])
def test_png_keeps_its_pixels(tmp_path, mode):
  pixels = write_image(tmp_path / 'a.png', mode=mode, size=(5, 7))
  assert np.array_equal(read_image(str(tmp_path / 'a.png'), 0, ''), pixels.reshape(5, 7, -1))


def test_a_palette_becomes_colours_and_sixteen_bit_grey_stays(tmp_path):
  pixels = write_image(tmp_path / 'a.png', size=(4, 4))
  Image.fromarray(pixels).quantize(256).save(tmp_path / 'p.png')
  assert np.abs(read_image(str(tmp_path / 'p.png'), 0, '').astype(int) - pixels).max() < 30
  grey = np.arange(0, 65536, 4096, dtype=np.uint16).reshape(4, 4)
  Image.fromarray(grey).save(tmp_path / 'g.png')
  found = read_image(str(tmp_path / 'g.png'), 0, '')
  assert found.dtype == np.uint16
  assert np.array_equal(found[..., 0], grey)


def test_sixteen_bit_colour_png_is_refused_since_it_would_lose_bits(tmp_path):
  (tmp_path / 'a.png').write_bytes(png_bytes(2, 2, depth=16, data=zlib.compress(bytes(2 * (1 + 2 * 6)))))
  with pytest.raises(UserError) as raised:
    read_image(str(tmp_path / 'a.png'), 0, '')
  one_line(raised, 'a.png', '16 bits', 'TIFF')


def test_the_central_square_is_resized_like_pillow_does(tmp_path):
  pixels = write_image(tmp_path / 'a.png', size=(20, 30))
  expected = Image.fromarray(pixels).resize((12, 8), Image.Resampling.BILINEAR).crop((2, 0, 10, 8))
  assert np.array_equal(read_image(str(tmp_path / 'a.png'), 8, ''), np.asarray(expected))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(['uint8', 'int16', 'uint16', 'float32']), st.integers(1, 5), st.integers(3, 12),
       st.integers(3, 12), st.integers(1, 15), st.booleans())
def test_resizing_keeps_dtype_range_and_constants(dtype, channels, height, width, size, constant):
  limits = np.iinfo(dtype) if dtype != 'float32' else np.finfo(np.float16)
  image = np.random.default_rng(size).uniform(limits.min, limits.max, (height, width, channels)).astype(dtype)
  if constant:
    image[:] = image[0, 0]
  found = resize_square(image, size)
  assert (found.dtype, found.shape) == (image.dtype, (size, size, channels))
  for channel in range(channels):
    low, high = float(image[..., channel].min()), float(image[..., channel].max())
    slack = 1e-3 * (abs(low) + abs(high)) if dtype == 'float32' else 0
    assert low - slack <= found[..., channel].min()
    assert found[..., channel].max() <= high + slack


def test_channels_resize_alike_whatever_the_type():
  image = np.random.default_rng(0).integers(0, 256, (12, 9, 3)).astype(np.uint8)
  bytes_way, float_way = resize_square(image, 6), resize_square(image.astype(np.float32), 6)
  assert np.abs(bytes_way - float_way).max() <= 1
  assert np.array_equal(resize_square(image.astype(np.int16), 6), np.rint(float_way))


def test_a_large_jpeg_read_at_reduced_size_is_as_good_as_the_whole(tmp_path):
  noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
  Image.fromarray(noise).filter(ImageFilter.GaussianBlur(3)).save(tmp_path / 'a.jpg', quality=95)
  whole = Image.open(tmp_path / 'a.jpg').crop((50, 0, 350, 300)).resize((64, 64), Image.Resampling.BILINEAR)
  found = read_image(str(tmp_path / 'a.jpg'), 64, '').astype(int)
  assert np.abs(found - np.asarray(whole)).mean() < 1


@pytest.mark.parametrize('dtype', ['uint8', 'int16', 'uint16', 'float32'])
@pytest.mark.parametrize(('options', 'stored'), [
    ({'planarconfig': 'contig', 'photometric': 'minisblack'}, (6, 5, 4)),
    ({'planarconfig': 'separate', 'photometric': 'minisblack'}, (4, 6, 5)),
])
def test_tiff_says_where_its_channels_are(tmp_path, dtype, options, stored):
  image = np.random.default_rng(0).integers(0, 120, stored).astype(dtype)
  tifffile.imwrite(tmp_path / 'a.tif', image, **options)
  found = read_image(str(tmp_path / 'a.tif'), 0, '')
  assert found.dtype == image.dtype
  assert np.array_equal(found, image if stored[0] == 6 else np.moveaxis(image, 0, -1))


def test_tiff_pages_need_a_rule(tmp_path):
  image = np.random.default_rng(0).integers(0, 9999, (4, 6, 5)).astype(np.uint16)
  path = str(tmp_path / 'a.tif')
  tifffile.imwrite(path, image, photometric='minisblack')
  with pytest.raises(UserError) as raised:
    read_image(path, 0, '')
  one_line(raised, path, 'several pages', 'data.channel_axis=first or last')
  assert np.array_equal(read_image(path, 0, 'first'), np.moveaxis(image, 0, -1))
  assert np.array_equal(read_image(path, 0, 'last'), image)


def test_tiff_without_tifffile_names_the_extra(tmp_path, monkeypatch):
  tifffile.imwrite(tmp_path / 'a.tif', np.zeros((4, 4), np.uint8))
  monkeypatch.setitem(sys.modules, 'tifffile', None)
  with pytest.raises(UserError) as raised:
    read_image(str(tmp_path / 'a.tif'), 0, '')
  one_line(raised, "pip install -e '.[tiff]'")


def test_a_tiff_of_another_dtype_lists_the_valid_ones(tmp_path):
  tifffile.imwrite(tmp_path / 'a.tif', np.zeros((4, 4), np.float64))
  with pytest.raises(UserError) as raised:
    read_image(str(tmp_path / 'a.tif'), 0, '')
  one_line(raised, 'float64', 'uint8, int16, uint16, float32')


def test_npy_images(tmp_path):
  image = np.random.default_rng(0).integers(-99, 999, (8, 9, 7)).astype(np.int16)
  np.save(tmp_path / 'last.npy', image)
  np.save(tmp_path / 'first.npy', np.moveaxis(image, -1, 0))
  np.save(tmp_path / 'flat.npy', image[..., 0])
  assert np.array_equal(read_image(str(tmp_path / 'last.npy'), 0, ''), image)
  assert np.array_equal(read_image(str(tmp_path / 'first.npy'), 0, 'first'), image)
  assert np.array_equal(read_image(str(tmp_path / 'flat.npy'), 0, ''), image[..., :1])
  with pytest.raises(UserError) as raised:
    read_image(str(tmp_path / 'first.npy'), 0, '')
  one_line(raised, 'first.npy', '(7, 8, 9)', 'data.channel_axis')


def test_a_pickle_is_refused(tmp_path):
  np.save(tmp_path / 'a.npy', np.array([{}, 1], object), allow_pickle=True)
  with pytest.raises(UserError) as raised:
    read_image(str(tmp_path / 'a.npy'), 0, '')
  one_line(raised, 'a.npy', 'pickled objects')


def test_four_axes_are_no_image():
  with pytest.raises(UserError, match=r'shape \(1, 2, 3, 4\)'):
    channels_last(np.zeros((1, 2, 3, 4)), '', 'here')


def png_bytes(width, height, depth=8, data=b''):
  def chunk(kind, body):
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))

  header = struct.pack('>IIBBBBB', width, height, depth, 2, 0, 0, 0)
  return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', data) + chunk(b'IEND', b'')


def huge_npy():
  file = io.BytesIO()
  np.lib.format.write_array_header_1_0(file, {'descr': '|u1', 'fortran_order': False, 'shape': (2**15, 2**15, 3)})
  return file.getvalue()


@pytest.mark.parametrize('side', [10_000, 12_000, 50_000])
def test_a_png_that_claims_to_be_enormous_is_refused_before_decoding(tmp_path, side):
  assert side**2 * 3 > MAX_VALUES == 2**28
  (tmp_path / 'a.png').write_bytes(png_bytes(side, side))
  with pytest.raises(UserError) as raised:
    read_image(str(tmp_path / 'a.png'), 32, '')
  one_line(raised, 'a.png', 'claims', f'at most {MAX_VALUES}')


def test_an_npy_or_tiff_that_claims_to_be_enormous_is_refused(tmp_path):
  with open(tmp_path / 'a.npy', 'wb') as file:
    file.write(huge_npy())
    file.truncate(len(huge_npy()) + 2**30 * 3)  # sparse: takes no space
  tifffile.imwrite(tmp_path / 'a.tif', shape=(2**15, 2**15), dtype='uint8', data=None)
  for name in ('a.npy', 'a.tif'):
    with pytest.raises(UserError) as raised:
      read_image(str(tmp_path / name), 32, '')
    one_line(raised, name, 'claims')


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif', 'npy'])
def test_damage_is_one_line_with_the_path(tmp_path, suffix):
  image = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
  path = tmp_path / f'a.{suffix}'
  if suffix == 'npy':
    np.save(path, image)
  elif suffix == 'tif':
    tifffile.imwrite(path, image, compression='zlib')
  else:
    Image.fromarray(image).save(path)
  whole = path.read_bytes()
  for damaged in (whole[:len(whole) // 2], b'', b'this is no image at all', whole[:20]):
    path.write_bytes(damaged)
    with pytest.raises(UserError) as raised:
      read_image(str(path), 8, '')
    one_line(raised, path)


def test_warnings_are_set_up_once_around_many_images(tmp_path, monkeypatch):
  (tmp_path / 'huge.png').write_bytes(png_bytes(10_000, 10_000))
  write_image(tmp_path / 'a.png')
  with strict_warnings():
    monkeypatch.setattr(warnings, 'catch_warnings', None)
    read_image(str(tmp_path / 'a.png'), 0, '')
    with pytest.raises(UserError, match='more pixels than Pillow opens'):
      read_image(str(tmp_path / 'huge.png'), 0, '')
    monkeypatch.undo()


@pytest.mark.parametrize('size', [(5, 5), (200, 200)])
def test_small_and_large_files_are_read_alike(tmp_path, size):
  pixels = write_image(tmp_path / 'a.png', size=size)
  assert ((tmp_path / 'a.png').stat().st_size > SMALL_FILE) == (size[0] == 200)
  assert np.array_equal(read_image(str(tmp_path / 'a.png'), 0, ''), pixels)


def test_a_missing_image_is_named(tmp_path):
  with pytest.raises(UserError, match=r'missing\.jpg: no such image'):
    read_image(str(tmp_path / 'missing.jpg'), 8, '')
