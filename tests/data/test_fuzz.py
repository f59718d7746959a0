"""Data from others, damaged or made to harm: only the documented error, no traceback, hang or unbounded memory."""

import contextlib
import io
import json
import resource
import struct

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mils_jax.data.cache.building import open_dataset
from mils_jax.data.cache.dataset import open_folder
from mils_jax.data.inputs import ModelChannels, fit, open_inputs
from mils_jax.data.sources.arrays import ArraysSource
from mils_jax.data.sources.images import read_image
from mils_jax.data.sources.pixels import Reading
from mils_jax.data.sources.shapes import ShapesSource
from mils_jax.errors import DamagedError, UserError
from tests.data.fakes import folder_source, read_pixels

MANY = settings(max_examples=10_000, deadline=5_000,
                suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
SPARE_MEMORY = 2**30  # bytes beyond what the process has: more is a failure
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings('ignore')]  # decoders warn of all kinds of damage


@pytest.fixture(autouse=True)
def little_memory():
  with open('/proc/self/statm', encoding='ascii') as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
  before = resource.getrlimit(resource.RLIMIT_AS)
  resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_MEMORY, before[1]))
  yield
  resource.setrlimit(resource.RLIMIT_AS, before)


def encode(mode, kind):
  file = io.BytesIO()
  Image.new(mode, (8, 8), 3).save(file, kind)
  return file.getvalue()


IMAGES = {'png': encode('RGB', 'png'), 'jpg': encode('RGB', 'jpeg'), 'gif': encode('L', 'gif'),
            'bmp': encode('RGB', 'bmp'), 'webp': encode('RGB', 'webp'), 'tif': encode('L', 'tiff')}


def npy(array):
  file = io.BytesIO()
  np.save(file, array)
  return file.getvalue()


def changes(data):
  """`data` with some bytes replaced, cut off or put in."""
  edit = st.tuples(st.integers(0, len(data)), st.integers(0, 8), st.binary(max_size=8))

  def apply(edits):
    changed = data
    for place, removed, added in edits:
      changed = changed[:place] + added + changed[place + removed:]
    return changed

  return st.lists(edit, min_size=1, max_size=4).map(apply)


LINE = st.one_of(st.text(max_size=40), st.builds('{} {}'.format, st.text(max_size=20), st.integers(-3, 10**12)),
                 st.sampled_from(['a.png 0', 'a.png 1', '../a.png 0', '/etc/passwd 0', 'x/../../a.png 0']))


@MANY
@given(text=st.one_of(st.binary(max_size=200), st.lists(LINE, max_size=6).map(lambda ls: '\n'.join(ls).encode(
    'utf-8', 'surrogatepass'))), channels=st.one_of(st.none(), st.binary(max_size=20)),
       classes=st.one_of(st.none(), st.binary(max_size=20)))
def test_lists(tmp_path, text, channels, classes):
  (tmp_path / 'a.png').write_bytes(IMAGES['png'])
  (tmp_path / 'train.txt').write_bytes(text)
  for name, value in (('channels.txt', channels), ('classes.txt', classes)):
    (tmp_path / name).unlink(missing_ok=True)
    if value is not None:
      (tmp_path / name).write_bytes(value)
  try:
    source = folder_source(tmp_path)
    source.inputs()
    opened = [source.example_id('train', index) for index in range(source.length('train'))]
  except UserError:
    return
  assert all((tmp_path / name).resolve().is_relative_to(tmp_path.resolve()) for name in opened)


CELL = st.one_of(st.text(max_size=8), st.sampled_from(
    ['a', 'a.png', 'id', 'label', '0', '1', '', '../a.png', '/etc/passwd', '"', '"a']))


@MANY
@given(rows=st.lists(st.lists(CELL, max_size=4), max_size=6), delimiter=st.sampled_from(',;\t'),
       raw=st.one_of(st.none(), st.binary(max_size=120)), column=st.sampled_from(['', 'label', 'x']))
def test_tables(tmp_path, rows, delimiter, raw, column):
  (tmp_path / 'a.png').write_bytes(IMAGES['png'])
  text = '\n'.join(delimiter.join(row) for row in rows).encode('utf-8', 'surrogatepass')
  (tmp_path / 'train.csv').write_bytes(text if raw is None else raw)
  try:
    source = folder_source(tmp_path, label_column=column)
    source.inputs()
    opened = [source.example_id('train', index) for index in range(source.length('train'))]
  except UserError:
    return
  assert all((tmp_path / name).resolve().is_relative_to(tmp_path.resolve()) for name in opened)


def tagged(tags, description=None):
  file = io.BytesIO()
  tifffile.imwrite(file, np.zeros((2, 8, 8), np.uint8), photometric='minisblack', planarconfig='separate',
                   metadata=None, description=description,
                   extratags=[(number, 2, 0, text, True) for number, text in tags.items()])
  return file.getvalue()


ASCII = st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=60)
GDAL = ('<GDALMetadata><Item name="DESCRIPTION" sample="0" role="description">a</Item>'
        '<Item name="WAVELENGTH" sample="1">7</Item></GDALMetadata>')
OME = ('<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
       '<Pixels DimensionOrder="XYCZT" ID="Pixels:0" SizeC="2" SizeT="1" SizeX="8" SizeY="8" SizeZ="1" Type="uint8">'
       '<Channel ID="Channel:0:0" Name="a" EmissionWavelength="7"/><TiffData IFD="0"/></Pixels></Image></OME>')


def edited(text):
  return changes(text.encode()).map(lambda changed: changed.decode('ascii', 'ignore').replace('\0', ' '))


@MANY
@given(gdal=st.one_of(ASCII, edited(GDAL)), nodata=ASCII, ome=st.one_of(st.none(), edited(OME)))
def test_tags_of_tiff(tmp_path, gdal, nodata, ome):
  (tmp_path / 'image.tif').write_bytes(tagged({42112: gdal, 42113: nodata}, ome))
  try:
    found = read_image(str(tmp_path / 'image.tif'), Reading(4))
  except UserError:
    return
  assert found.pixels.shape[:2] == (4, 4)
  assert len(found.names) in (0, found.pixels.shape[-1])


@MANY
@given(exif=st.binary(max_size=120), kind=st.sampled_from(['png', 'jpeg', 'webp']))
def test_exif(tmp_path, exif, kind):
  Image.new('RGB', (8, 6), 3).save(tmp_path / 'image.png', kind, exif=b'Exif\0\0' + exif)
  assert sorted(read_pixels(tmp_path / 'image.png', 0, '').shape) == [3, 6, 8]


@MANY
@given(data=st.data(), kind=st.sampled_from(sorted(IMAGES)))
def test_images(tmp_path, data, kind):
  path = tmp_path / f'image.{kind}'
  path.write_bytes(data.draw(changes(IMAGES[kind])))
  try:
    image = read_pixels(path, 8, '')
  except UserError:
    return
  assert image.shape[:2] == (8, 8)


@MANY
@given(data=changes(npy(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))))
def test_npy_images(tmp_path, data):
  path = tmp_path / 'image.npy'
  path.write_bytes(data)
  with contextlib.suppress(UserError):
    read_pixels(path, 8, 'last')


def archive():
  file = io.BytesIO()
  np.savez(file, train_images=np.zeros((4, 4, 4, 3), np.uint8), train_labels=np.arange(4) % 2,
           classes=np.array(['a', 'b']), channels=np.array(['R', 'G', 'B']))
  return file.getvalue()


@MANY
@given(data=changes(archive()))
def test_npz(tmp_path, data):
  path = tmp_path / 'set.npz'
  path.write_bytes(data)
  try:
    source = ArraysSource(str(path))
    source.labels('train')
    source.read('train', 0)
  except UserError:
    pass


@MANY
@given(header=st.one_of(st.text(max_size=60), st.builds(
    "{{'descr': '{}', 'fortran_order': {}, 'shape': {}, }}".format, st.sampled_from(['|u1', '<f4', '|O', '<U9999999']),
    st.booleans(), st.sampled_from(['(4, 4, 4, 3)', '(10**9,)', '(999999999999,)', '(-1,)', '(4,)', '()']))))
def test_npy_headers(tmp_path, header):
  encoded = header.encode('latin1', 'replace')
  data = b'\x93NUMPY\x01\x00' + struct.pack('<H', len(encoded)) + encoded + bytes(192)
  for name in ('train_images', 'train_labels'):
    (tmp_path / f'{name}.npy').write_bytes(data)
  try:
    source = ArraysSource(str(tmp_path))
    source.labels('train')
    source.read('train', 0)
  except UserError:
    pass


PREDICTED = [npy(np.zeros((4, 4, 3), np.uint8)), npy(np.zeros((2, 4, 4, 3), np.float32)), archive()]


@MANY
@given(data=st.data(), name=st.sampled_from(['x.npy', 'x.npz']))
def test_inputs(tmp_path, data, name):
  path = tmp_path / name
  path.write_bytes(data.draw(st.sampled_from(PREDICTED).flatmap(changes)))
  try:
    inputs = open_inputs([str(path)], Reading(4))
    fit(*inputs.read(0), ModelChannels(('R', 'G', 'B')))
  except UserError:
    return
  assert inputs.example_ids


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  return open_dataset(ShapesSource(8, 0, 4, 4, 4), tmp_path_factory.mktemp('dataset')).folder


JSON = st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
                    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner)))


@MANY
@given(data=st.data())
def test_manifests(dataset, data):
  path = dataset / 'manifest.json'
  good = path.read_bytes()
  values = json.loads(good)
  key = data.draw(st.sampled_from(sorted(values)))
  changed = data.draw(st.one_of(changes(good), JSON.map(lambda value: json.dumps({**values, key: value}).encode())))
  path.write_bytes(changed)
  try:
    open_folder(dataset)
  except DamagedError:
    pass
  finally:
    path.write_bytes(good)
