import io
import logging
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from imagecodecs import jpeg2k_encode
from PIL import Image, ImageFilter

from mils_jax.data.sources import image_formats
from mils_jax.data.sources.images import decoders_settled, read_image
from mils_jax.data.sources.pictures import SMALL_FILE
from mils_jax.data.sources.pixels import MAX_VALUES, Reading, channels_last, check_size, resize_square
from mils_jax.errors import UserError
from tests.data.fakes import read_pixels, write_image


def one_line(raised, *parts):
  text = str(raised.value)
  assert '\n' not in text
  for part in parts:
    assert str(part) in text


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'L'])
def test_png_keeps_its_pixels(tmp_path, mode):
  pixels = write_image(tmp_path / 'a.png', mode=mode, size=(5, 7))
  assert np.array_equal(read_pixels(tmp_path / 'a.png', 0, ''), pixels.reshape(5, 7, -1))


def test_a_palette_becomes_colours_and_sixteen_bit_grey_stays(tmp_path):
  pixels = write_image(tmp_path / 'a.png', size=(4, 4))
  Image.fromarray(pixels).quantize(256).save(tmp_path / 'p.png')
  assert np.abs(read_pixels(tmp_path / 'p.png', 0, '').astype(int) - pixels).max() < 30
  grey = np.arange(0, 65536, 4096, dtype=np.uint16).reshape(4, 4)
  Image.fromarray(grey).save(tmp_path / 'g.png')
  found = read_pixels(tmp_path / 'g.png', 0, '')
  assert found.dtype == np.uint16
  assert np.array_equal(found[..., 0], grey)


def test_sixteen_bit_colour_png_is_refused_since_it_would_lose_bits(tmp_path):
  (tmp_path / 'a.png').write_bytes(png_bytes(2, 2, depth=16, data=zlib.compress(bytes(2 * (1 + 2 * 6)))))
  with pytest.raises(UserError) as raised:
    read_pixels(tmp_path / 'a.png', 0, '')
  one_line(raised, 'a.png', '16 bits', 'TIFF')


def test_the_central_square_is_resized_like_pillow_does(tmp_path):
  pixels = write_image(tmp_path / 'a.png', size=(20, 30))
  expected = Image.fromarray(pixels).resize((12, 8), Image.Resampling.BILINEAR).crop((2, 0, 10, 8))
  assert np.array_equal(read_pixels(tmp_path / 'a.png', 8, ''), np.asarray(expected))


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
  found = read_pixels(tmp_path / 'a.jpg', 64, '').astype(int)
  assert np.abs(found - np.asarray(whole)).mean() < 1


@pytest.mark.parametrize('dtype', ['uint8', 'int16', 'uint16', 'float32'])
@pytest.mark.parametrize(('options', 'stored'), [
    ({'planarconfig': 'contig', 'photometric': 'minisblack'}, (6, 5, 4)),
    ({'planarconfig': 'separate', 'photometric': 'minisblack'}, (4, 6, 5)),
])
def test_tiff_states_where_its_channels_are(tmp_path, dtype, options, stored):
  image = np.random.default_rng(0).integers(0, 120, stored).astype(dtype)
  tifffile.imwrite(tmp_path / 'a.tif', image, **options)
  found = read_pixels(tmp_path / 'a.tif', 0, '')
  assert found.dtype == image.dtype
  assert np.array_equal(found, image if stored[0] == 6 else np.moveaxis(image, 0, -1))


def test_tiff_pages_need_a_rule(tmp_path):
  image = np.random.default_rng(0).integers(0, 9999, (4, 6, 5)).astype(np.uint16)
  path = str(tmp_path / 'a.tif')
  tifffile.imwrite(path, image, photometric='minisblack')
  with pytest.raises(UserError) as raised:
    read_pixels(path, 0, '')
  one_line(raised, path, 'several pages', 'data.channel_axis=first or last')
  assert np.array_equal(read_pixels(path, 0, 'first'), np.moveaxis(image, 0, -1))
  assert np.array_equal(read_pixels(path, 0, 'last'), image)


def test_a_tiff_of_another_dtype_lists_the_valid_ones(tmp_path):
  tifffile.imwrite(tmp_path / 'a.tif', np.zeros((4, 4), np.float64))
  with pytest.raises(UserError) as raised:
    read_pixels(tmp_path / 'a.tif', 0, '')
  one_line(raised, 'float64', 'uint8, int16, uint16, float32')


def test_npy_images(tmp_path):
  image = np.random.default_rng(0).integers(-99, 999, (8, 9, 7)).astype(np.int16)
  np.save(tmp_path / 'last.npy', image)
  np.save(tmp_path / 'first.npy', np.moveaxis(image, -1, 0))
  np.save(tmp_path / 'flat.npy', image[..., 0])
  assert np.array_equal(read_pixels(tmp_path / 'last.npy', 0, ''), image)
  assert np.array_equal(read_pixels(tmp_path / 'first.npy', 0, 'first'), image)
  assert np.array_equal(read_pixels(tmp_path / 'flat.npy', 0, ''), image[..., :1])
  with pytest.raises(UserError) as raised:
    read_pixels(tmp_path / 'first.npy', 0, '')
  one_line(raised, 'first.npy', '(7, 8, 9)', 'data.channel_axis')


def test_a_pickle_is_refused(tmp_path):
  np.save(tmp_path / 'a.npy', np.array([{}, 1], object), allow_pickle=True)
  with pytest.raises(UserError) as raised:
    read_pixels(tmp_path / 'a.npy', 0, '')
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


@pytest.mark.parametrize('side', [20_000, 50_000])
def test_a_png_that_claims_to_be_enormous_is_refused_before_decoding(tmp_path, side):
  assert side**2 * 3 > MAX_VALUES
  (tmp_path / 'a.png').write_bytes(png_bytes(side, side))
  with pytest.raises(UserError) as raised:
    read_pixels(tmp_path / 'a.png', 32, '')
  one_line(raised, 'a.png', f'{side} x {side} x 3 are {side * side * 3} values', f'at most {MAX_VALUES}')


def test_an_npy_or_tiff_that_claims_to_be_enormous_is_refused(tmp_path):
  with open(tmp_path / 'a.npy', 'wb') as file:
    file.write(huge_npy())
    file.truncate(len(huge_npy()) + 2**30 * 3)  # sparse: takes no space
  tifffile.imwrite(tmp_path / 'a.tif', shape=(2**16, 2**15), dtype='uint8', data=None)
  for name in ('a.npy', 'a.tif'):
    with pytest.raises(UserError) as raised:
      read_pixels(tmp_path / name, 32, '')
    one_line(raised, name, f'at most {MAX_VALUES}')


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
      read_pixels(path, 8, '')
    one_line(raised, path)


def test_warnings_and_limits_are_set_up_once_around_many_images(tmp_path, monkeypatch):
  write_image(tmp_path / 'a.png')
  limit = Image.MAX_IMAGE_PIXELS
  with decoders_settled():
    monkeypatch.setattr(warnings, 'catch_warnings', None)
    read_pixels(tmp_path / 'a.png')
    monkeypatch.undo()
  assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize('size', [(5, 5), (200, 200)])
def test_small_and_large_files_are_read_alike(tmp_path, size):
  pixels = write_image(tmp_path / 'a.png', size=size)
  assert ((tmp_path / 'a.png').stat().st_size > SMALL_FILE) == (size[0] == 200)
  assert np.array_equal(read_pixels(tmp_path / 'a.png', 0, ''), pixels)


def test_a_missing_image_is_named(tmp_path):
  with pytest.raises(UserError, match=r'missing\.jpg: no such image'):
    read_pixels(tmp_path / 'missing.jpg', 8, '')


ORIENTED = {2: np.fliplr, 3: lambda shown: np.rot90(shown, 2), 4: np.flipud, 5: lambda shown: np.swapaxes(shown, 0, 1),
            6: lambda shown: np.rot90(shown, 1), 7: lambda shown: np.rot90(np.fliplr(shown), 3),
            8: lambda shown: np.rot90(shown, 3)}


@pytest.mark.parametrize('suffix', ['png', 'webp', 'tif', 'jpg'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_an_image_is_read_as_a_viewer_shows_it_and_cut_afterwards(tmp_path, suffix, orientation):
  shown = np.zeros((20, 30, 3), np.uint8)
  shown[:10, :15], shown[:10, 15:], shown[10:, :15] = 240, (240, 0, 0), (0, 0, 240)
  stored = np.ascontiguousarray(ORIENTED.get(orientation, lambda shown: shown)(shown))
  path = tmp_path / f'a.{suffix}'
  if suffix == 'tif':
    tifffile.imwrite(path, stored, photometric='rgb', extratags=[(274, 3, 1, orientation, True)])
  else:
    exif = Image.Exif()
    exif[274] = orientation
    options = {'quality': 95, 'subsampling': 0} if suffix == 'jpg' else {'lossless': True}
    Image.fromarray(stored).save(path, exif=exif, **options)
  tolerance = 40 if suffix == 'jpg' else 0  # beside the edges, which JPEG smears
  found = read_image(str(path), Reading())
  assert np.abs(found.pixels[::5, ::5].astype(int) - shown[::5, ::5]).max() <= tolerance
  assert bool(found.notes) == (orientation > 1)
  whole = resize_square(np.ascontiguousarray(shown), 4)
  assert np.abs(read_pixels(path, 4).astype(int) - whole)[[0, 0, 3, 3], [0, 3, 0, 3]].max() <= tolerance


def test_damaged_exif_is_no_damage_of_the_image(tmp_path):
  pixels = np.zeros((9, 9, 3), np.uint8)
  Image.fromarray(pixels).save(tmp_path / 'a.png', exif=b'Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01')
  assert np.array_equal(read_pixels(tmp_path / 'a.png'), pixels)


PLAIN = np.random.default_rng(0).integers(0, 256, (12, 12, 3)).astype(np.uint8)
NOTES = {'L': ('grey image',), 'LA': ('alpha', 'grey image'), 'RGBA': ('alpha',), 'P': (), 'RGB': (),
         '1': ('grey image',)}


@pytest.mark.parametrize('mode', NOTES)
def test_images_of_any_mode_become_colours_and_what_changed_is_noted(tmp_path, mode):
  image = Image.fromarray(PLAIN).convert(mode)
  image.save(tmp_path / 'a.png')
  found = read_image(str(tmp_path / 'a.png'), Reading(color='rgb'))
  assert np.array_equal(found.pixels, np.asarray(image.convert('RGB')))
  assert found.color == ('R', 'G', 'B')
  assert len(found.notes) == len(NOTES[mode])
  assert all(part in note for part, note in zip(NOTES[mode], found.notes, strict=True))
  small = read_image(str(tmp_path / 'a.png'), Reading(6, color='rgb'))
  assert small.pixels.shape == (6, 6, 3)


@pytest.mark.parametrize('mode', NOTES)
def test_images_of_any_mode_become_grey_by_their_luminance(tmp_path, mode):
  image = Image.fromarray(PLAIN).convert(mode)
  image.save(tmp_path / 'a.png')
  found = read_image(str(tmp_path / 'a.png'), Reading(color='grey'))
  assert np.array_equal(found.pixels[..., 0], np.asarray(image.convert('L')))
  assert any('luminance' in note for note in found.notes) == (mode in ('RGB', 'RGBA', 'P'))


def test_sixteen_bit_grey_keeps_its_bits_in_colour(tmp_path):
  grey = np.arange(0, 65536, 4096, dtype=np.uint16).reshape(4, 4)
  Image.fromarray(grey).save(tmp_path / 'a.png')
  assert np.array_equal(read_pixels(tmp_path / 'a.png', color='rgb'), np.repeat(grey[..., None], 3, -1))


def test_a_netpbm_image_of_sixteen_bits_stays_one(tmp_path):
  (tmp_path / 'a.pgm').write_bytes(b'P5 2 1 65535\n' + bytes([1, 0, 255, 255]))
  assert read_pixels(tmp_path / 'a.pgm').tolist() == [[[256], [65535]]]
  assert read_pixels(tmp_path / 'a.pgm').dtype == np.uint16


@pytest.mark.parametrize(('header', 'kind'), [('P5 2 1 4095\n', '>u2'), ('P5 2 1 15\n', 'u1'), ('P2 2 1 15\n', '')])
def test_a_netpbm_image_with_another_largest_value_is_noted_as_scaled(tmp_path, header, kind):
  largest = int(header.split()[-1])
  (tmp_path / 'a.pgm').write_bytes(header.encode() + (np.array([0, largest], kind).tobytes() if kind else b'0 15\n'))
  found = read_image(str(tmp_path / 'a.pgm'), Reading())
  assert found.pixels.ravel().tolist() == [0, np.iinfo(found.pixels.dtype).max]
  assert 'scaled to the whole range' in found.notes[0]
  (tmp_path / 'a.pgm').write_bytes(b'P5 2 1 255\n\x00\x0f')
  assert read_image(str(tmp_path / 'a.pgm'), Reading()).notes == ()


def test_formats_whose_sixteen_bits_would_be_cut_are_refused(tmp_path):
  Image.fromarray(PLAIN).save(tmp_path / 'colour.sgi', bpc=2)
  Image.fromarray(PLAIN[..., 0]).save(tmp_path / 'grey.sgi', bpc=2)
  (tmp_path / 'a.ppm').write_bytes(b'P6 1 1 65535\n' + bytes(6))
  (tmp_path / 'plain.ppm').write_bytes(b'P3 1 1 65535\n1 2 3\n')
  for path in tmp_path.iterdir():
    with pytest.raises(UserError, match=r'of 16 bits.*would lose half of them'):
      read_pixels(path)


@pytest.mark.parametrize(('dtype', 'bits', 'channels'), [
    ('uint16', 12, 1), ('uint16', 15, 1), ('uint16', 16, 1), ('int16', 16, 1), ('uint16', 16, 3), ('uint16', 12, 5),
    ('uint8', 8, 6), ('uint8', 8, 1), ('uint8', 8, 3), ('uint8', 4, 1), ('uint8', 1, 1)])
def test_jpeg_2000_has_its_values_whatever_their_bits(tmp_path, dtype, bits, channels):
  low = -(2 ** (bits - 1)) if dtype == 'int16' else 0
  values = np.random.default_rng(0).integers(low, low + 2**bits, (9, 7, channels)).astype(dtype)
  path = tmp_path / 'a.jp2'
  path.write_bytes(jpeg2k_encode(values.squeeze(), level=0, bitspersample=bits, reversible=True, mct=False))
  found = read_image(str(path), Reading())
  assert found.pixels.dtype == dtype
  assert np.array_equal(found.pixels, values * (255 if bits == 1 else 1))
  if dtype == 'uint16' and channels == 1:
    assert found.color == ('grey',)
    assert np.array_equal(read_pixels(path, color='rgb'), np.repeat(values, 3, -1))
  for length in (0, 3, 60, 100, len(path.read_bytes()) // 2):
    (tmp_path / 'cut.jp2').write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match='does not decode'):
      read_pixels(tmp_path / 'cut.jp2')


def test_a_tiff_in_other_colours_is_refused(tmp_path):
  red = np.full((16, 16, 3), (200, 0, 0), np.uint8)
  for mode in ('YCbCr', 'LAB'):
    image = Image.fromarray(red) if mode == 'LAB' else Image.fromarray(red).convert(mode)
    (Image.merge('LAB', image.split()) if mode == 'LAB' else image).save(tmp_path / f'{mode}.tif')
    with pytest.raises(UserError, match='a TIFF in the colours'):
      read_pixels(tmp_path / f'{mode}.tif')
  tifffile.imwrite(tmp_path / 'jpeg.tif', red, photometric='rgb', compression='jpeg')
  with tifffile.TiffFile(tmp_path / 'jpeg.tif') as file:
    assert file.pages.first.photometric == tifffile.PHOTOMETRIC.YCBCR
  assert np.abs(read_pixels(tmp_path / 'jpeg.tif').astype(int) - red).max() < 4


def test_a_tiff_of_several_colour_pages_is_refused_whatever_the_axis(tmp_path):
  tifffile.imwrite(tmp_path / 'a.tif', np.zeros((2, 8, 8, 3), np.uint8), photometric='rgb')
  with pytest.raises(UserError, match=r'several pages of several channels.*expected one image'):
    read_pixels(tmp_path / 'a.tif', channel_axis='last')


@pytest.mark.parametrize(('scale', 'offset', 'noted'), [(1e-4, 0, True), (1, -0.1, True), (1, 0, False)])
def test_a_scale_that_is_not_applied_is_noted(tmp_path, scale, offset, noted):
  items = ''.join(f'<Item name="{role.upper()}" sample="0" role="{role}">{value}</Item>'
                  for role, value in (('scale', scale), ('offset', offset)))
  tifffile.imwrite(tmp_path / 'a.tif', np.ones((4, 4), np.uint16),
                   extratags=[(42112, 2, 0, f'<GDALMetadata>{items}</GDALMetadata>', True)])
  found = read_image(str(tmp_path / 'a.tif'), Reading())
  assert found.pixels.max() == 1
  assert any('without the scale and offset' in note for note in found.notes) == noted


@pytest.mark.parametrize('suffix', ['jfif', 'jpe', 'jp2', 'avif', 'tga', 'pbm', 'pcx', 'qoi', 'webp', 'gif', 'dds'])
def test_what_pillow_opens_is_an_image(tmp_path, suffix):
  assert image_formats.is_readable(f'a.{suffix.upper()}')
  image = Image.fromarray(PLAIN).convert('1' if suffix == 'pbm' else 'RGB')
  image.save(tmp_path / f'a.{suffix}')
  assert read_pixels(tmp_path / f'a.{suffix}', color='rgb').shape == (12, 12, 3)


def test_containers_films_and_programs_are_no_images():
  suffixes = ('eps', 'ps', 'mpg', 'h5', 'wmf', 'fits', 'txt', 'csv', '')
  assert not any(image_formats.is_readable(f'a.{suffix}') for suffix in suffixes)


def test_the_first_frame_of_several_is_noted(tmp_path):
  frames = [Image.new('L', (4, 4), level) for level in (10, 200)]
  frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:])
  found = read_image(str(tmp_path / 'a.gif'), Reading(color='grey'))
  assert found.pixels.max() == 10
  assert 'first of several frames' in found.notes[0]


@pytest.mark.parametrize('compression', ['lzw', 'jpeg', 'zstd', 'packbits', 'deflate'])
def test_compressed_tiff_is_read(tmp_path, compression):
  smooth = np.repeat(np.arange(64, dtype=np.uint8)[:, None], 64, 1)
  tifffile.imwrite(tmp_path / 'a.tif', smooth, compression=compression)
  found = read_pixels(tmp_path / 'a.tif')[..., 0].astype(int)
  assert np.abs(found - smooth).max() <= (3 if compression == 'jpeg' else 0)


def test_a_tiff_with_a_palette_has_its_colours(tmp_path):
  Image.fromarray(PLAIN).quantize(64).save(tmp_path / 'a.tif')
  expected = np.asarray(Image.open(tmp_path / 'a.tif').convert('RGB'))
  assert np.array_equal(read_pixels(tmp_path / 'a.tif'), expected)


def test_a_tiff_with_smaller_copies_is_one_image(tmp_path):
  image = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint16)
  with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
    file.write(image, tile=(32, 32))
    file.write(image[::2, ::2], tile=(32, 32), subfiletype=1)
  assert np.array_equal(read_pixels(tmp_path / 'a.tif')[..., 0], image)
  with tifffile.TiffWriter(tmp_path / 'b.tif') as file:
    file.write(image)
    file.write(image[:9, :9])
  with pytest.raises(UserError, match='2 separate images'):
    read_pixels(tmp_path / 'b.tif')


GDAL = """<GDALMetadata>
  <Item name="DESCRIPTION" sample="0" role="description">B02</Item>
  <Item name="DESCRIPTION" sample="1" role="description">B08</Item>
  <Item name="UNITTYPE" sample="1" role="unittype">reflectance</Item>
  <Item name="CENTRAL_WAVELENGTH_UM" sample="1">0.842</Item>
</GDALMetadata>"""


def write_bands(path, description=GDAL, nodata=None, dtype=np.int16):
  bands = np.arange(2 * 6 * 6).reshape(2, 6, 6).astype(dtype)
  bands[1, 0, :2] = -9999
  tags = [(42112, 2, 0, description, True), *([(42113, 2, 0, nodata, True)] if nodata else [])]
  tifffile.imwrite(path, bands, planarconfig='separate', photometric='minisblack', extratags=tags, metadata=None)
  return np.moveaxis(bands, 0, -1)


def test_a_tiff_names_its_channels_by_the_descriptions_of_gdal(tmp_path):
  write_bands(tmp_path / 'a.tif')
  found = read_image(str(tmp_path / 'a.tif'), Reading())
  assert found.names == ('B02', 'B08')
  assert found.units == ('', 'reflectance, wavelength 0.842')
  for broken in ('', '<GDALMetadata', GDAL.replace('B08', 'B02'), GDAL.replace('sample="1"', 'sample="x"'),
                 '<!DOCTYPE a [<!ENTITY b "c">]>' + GDAL):
    write_bands(tmp_path / 'a.tif', broken)
    assert read_image(str(tmp_path / 'a.tif'), Reading()).names == ()


def test_what_files_state_of_themselves_may_be_ignored_as_before_it_was_read(tmp_path):
  write_bands(tmp_path / 'a.tif')
  assert read_image(str(tmp_path / 'a.tif'), Reading(metadata=False)).names == ()
  image = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6)
  exif = Image.Exif()
  exif[274] = 6
  Image.fromarray(image).save(tmp_path / 'b.png', exif=exif)
  tifffile.imwrite(tmp_path / 'b.tif', image, extratags=[(274, 3, 1, 6, True)])
  for name in ('b.png', 'b.tif'):
    assert read_pixels(tmp_path / name).shape == (6, 4, 1)
    assert np.array_equal(read_pixels(tmp_path / name, metadata=False)[..., 0], image)


def test_a_tiff_names_its_channels_by_ome(tmp_path):
  image = np.zeros((3, 8, 8), np.uint16)
  names = ['DAPI', 'GFP', 'Cy5']
  tifffile.imwrite(tmp_path / 'a.ome.tif', image, photometric='minisblack', metadata={
      'axes': 'CYX', 'Channel': {'Name': names, 'EmissionWavelength': [460.0, 510.0, 670.0]}})
  found = read_image(str(tmp_path / 'a.ome.tif'), Reading())
  assert found.names == tuple(names)
  assert found.units[0] == 'wavelength 460.0 nm'


@pytest.mark.parametrize(('tag', 'setting', 'masked'), [
    ('-9999', '', True), ('-9999 ', '', True), (None, '', False), ('-9999', 'none', False), (None, '-9999', True),
    ('5', '-9999', True), ('none', '', False)])
def test_pixels_without_data_are_masked(tmp_path, tag, setting, masked):
  bands = write_bands(tmp_path / 'a.tif', nodata=tag)
  found = read_pixels(tmp_path / 'a.tif', nodata=setting)
  assert isinstance(found, np.ma.MaskedArray) == masked
  assert not masked or np.array_equal(np.ma.getmaskarray(found), bands == -9999)


def test_a_nodata_that_the_dtype_cannot_hold_is_no_line_in_the_log_for_each_file(tmp_path, caplog):
  tifffile.imwrite(tmp_path / 'a.tif', np.zeros((6, 6), np.uint16), extratags=[(42113, 2, 0, '-9999', True)])
  caplog.clear()
  assert not isinstance(read_pixels(tmp_path / 'a.tif'), np.ma.MaskedArray)
  assert caplog.records == []
  logging.getLogger('tifffile').warning('of another reader')
  assert [record.message for record in caplog.records] == ['of another reader']


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int16])
def test_what_is_stored_counts_as_nodata_where_the_least_value_is_white(tmp_path, dtype):
  stored = np.array([[0, 5], [7, 9]], dtype)
  tifffile.imwrite(tmp_path / 'a.tif', stored, photometric='miniswhite')
  most = np.iinfo(dtype).max + np.iinfo(dtype).min
  for options in ({}, {'nodata': str(most - 9)}):
    found = read_pixels(tmp_path / 'a.tif', **options)
    assert not np.ma.is_masked(found)
    assert np.array_equal(found[..., 0], most - stored.astype(int))
  found = read_pixels(tmp_path / 'a.tif', nodata='5')
  assert np.array_equal(np.ma.getmaskarray(found)[..., 0], stored == 5)


def test_what_is_stored_counts_as_nodata_where_a_palette_gives_colours(tmp_path):
  stored = np.array([[0, 1], [2, 3]], np.uint8)
  palette = np.zeros((3, 256), np.uint16)
  palette[:, :4] = np.array([[1, 9, 9], [9, 1, 9], [5, 5, 5], [0, 0, 0]]).T * 257
  tifffile.imwrite(tmp_path / 'a.tif', stored, photometric='palette', colormap=palette)
  found = read_pixels(tmp_path / 'a.tif', nodata='1')
  assert found.data[0, 0].tolist() == [1, 9, 9]
  assert np.array_equal(np.ma.getmaskarray(found), np.repeat(stored[..., None] == 1, 3, -1))


def test_a_nodata_of_few_digits_and_nan_are_found_among_floats(tmp_path):
  values = np.ones((4, 4, 2), np.float32)
  values[0, 0, 0], values[1, 1, 1] = np.finfo(np.float32).min, np.nan
  np.save(tmp_path / 'a.npy', values)
  for nodata, place in (('-3.40282347e+38', [0, 0, 0]), ('nan', [1, 1, 1])):
    assert np.argwhere(np.ma.getmaskarray(read_pixels(tmp_path / 'a.npy', nodata=nodata))).tolist() == [place]
  with pytest.raises(UserError, match=r"data\.nodata='x'"):
    Reading(nodata='x')


@pytest.mark.parametrize('dtype', ['uint8', 'int16', 'uint16', 'float32'])
def test_resizing_mixes_nothing_without_data_into_its_neighbours(dtype):
  pixels = np.full((24, 24, 3), 100, dtype)
  pixels[:9, :9] = 7
  mask = pixels == 7
  found = resize_square(np.ma.masked_array(pixels, mask), 8)
  assert found.dtype == dtype
  assert (found.compressed() == 100).all()
  assert np.array_equal(np.ma.getmaskarray(found)[:3, :3], np.ones((3, 3, 3), bool))
  assert not np.ma.getmaskarray(found)[4:].any()


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_spoils_no_other_channel_of_an_image_with_pixels_without_data(value):
  pixels = np.full((24, 24, 2), 100, np.float32)
  pixels[20, 20, 1] = value
  mask = np.zeros(pixels.shape, bool)
  mask[:3, :3, 0] = True
  found = resize_square(np.ma.masked_array(pixels, mask), 8)
  assert (found[..., 0].compressed() == 100).all()
  assert not np.isfinite(found[6:, 6:, 1].data).any()
  assert (~np.isfinite(found.data)).sum() == 4


def test_an_image_of_a_hundred_million_pixels_is_read(tmp_path):
  Image.new('1', (10_000, 10_000)).save(tmp_path / 'a.png')
  assert read_pixels(tmp_path / 'a.png', 8).shape == (8, 8, 1)


def test_a_large_image_needs_a_file_that_can_hold_it(tmp_path):
  path = tmp_path / 'a.gif'
  Image.fromarray(PLAIN).save(path)
  content = bytearray(path.read_bytes())
  content[6:10] = (22_808).to_bytes(2, 'little') + (9_917).to_bytes(2, 'little')
  path.write_bytes(content)
  with pytest.raises(UserError, match=rf'a\.gif: claims 22808 x 9917 x 3 values in {len(content)} bytes'):
    read_pixels(tmp_path / 'a.gif', 8)
  with open(tmp_path / 'a.png', 'wb') as file:
    file.truncate(100_000)
  check_size(str(tmp_path / 'a.png'), (10_000, 10_000, 3))
