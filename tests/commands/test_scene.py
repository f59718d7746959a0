"""`--mode predict --tile`: a georeferenced raster in, maps of classes and probabilities out."""

import shutil

import numpy as np
import pytest
from PIL import Image

import mils_jax
from mils_jax.cli import main
from mils_jax.data import scene as scenes

rasterio = pytest.importorskip('rasterio')

PLACE = {'crs': 'EPSG:32632', 'transform': rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)}


@pytest.fixture(scope='module')
def run(small_runs):
  return small_runs['wide_cnn']


def write_scene(path, bands, names='RGB', **profile):
  """Bands (C, H, W) as a GeoTIFF."""
  with rasterio.open(path, 'w', driver='GTiff', count=len(bands), height=bands.shape[1], width=bands.shape[2],
                     dtype=bands.dtype, **{**PLACE, **profile}) as file:
    file.write(bands)
    for band, name in enumerate(names, 1):
      file.set_band_description(band, name)
  return path


def noise(height, width, dtype=np.uint8):
  return np.random.default_rng(0).integers(1, 255, (3, height, width)).astype(dtype)


def predict(run, path, *words):
  return main(['main.py', '--mode=predict', f'--workdir={run}', f'--input={path}', *words])


def read(path):
  with rasterio.open(path) as file:
    return file.read(), file.profile


@pytest.mark.parametrize(('length', 'tile', 'stride', 'expected'), [
    (10, 4, 4, [0, 4, 6]), (8, 4, 4, [0, 4]), (8, 4, 2, [0, 2, 4]), (3, 4, 2, [0]), (4, 4, 1, [0])])
def test_tiles_reach_from_end_to_end(length, tile, stride, expected):
  assert scenes.starts(length, tile, stride) == expected


def test_blocks_share_the_scene_and_have_every_tile_that_reaches_into_them(monkeypatch):
  monkeypatch.setattr(scenes, 'BLOCK', 8)
  assert [(block.rows, block.columns, block.row_starts, block.column_starts) for block in scenes.blocks(19, 11, 5, 3)
          ] == [((0, 8), (0, 8), (0, 3, 6), (0, 3, 6)), ((0, 8), (8, 11), (0, 3, 6), (6,)),
                ((8, 16), (0, 8), (6, 9, 12, 14), (0, 3, 6)), ((8, 16), (8, 11), (6, 9, 12, 14), (6,)),
                ((16, 19), (0, 8), (12, 14), (0, 3, 6)), ((16, 19), (8, 11), (12, 14), (6,))]


def test_each_pixel_has_the_mean_of_the_tiles_that_it_lies_in_whatever_the_blocks(run, tmp_path, monkeypatch, capsys):
  bands = noise(40, 56)
  path, out = write_scene(tmp_path / 'scene.tif', bands), tmp_path / 'classes.tif'
  monkeypatch.setattr(scenes, 'BLOCK', 32)
  assert predict(run, path, '--tile=16', '--stride=8', f'--output={out}', '--all_classes') == 0
  classifier = mils_jax.load(run)
  total, number = np.zeros((40, 56, 20)), np.zeros((40, 56, 1))
  for row in range(0, 25, 8):
    for column in range(0, 41, 8):
      part = (slice(row, row + 16), slice(column, column + 16))
      total[part] += classifier(np.moveaxis(bands, 0, -1)[part])[0]
      number[part] += 1
  probabilities, profile = read(tmp_path / 'classes-probability.tif')
  np.testing.assert_allclose(probabilities, np.moveaxis(total / number, -1, 0), rtol=1e-4, atol=1e-6)
  labels, profile = read(out)
  assert np.array_equal(labels[0], probabilities.argmax(0))
  with rasterio.open(tmp_path / 'classes-probability.tif') as file:
    assert file.descriptions == classifier.classes
  assert (profile['crs'], profile['transform']) == (rasterio.CRS.from_string(PLACE['crs']), PLACE['transform'])
  with rasterio.open(out) as file:
    assert file.tags(1)['class_3'] == classifier.classes[3]
    assert len({file.colormap(1)[label] for label in range(20)}) == 20
  with Image.open(tmp_path / 'classes.png') as look:
    assert look.size[0] > 56
  assert '2240 pixels' in capsys.readouterr().out
  assert not list(tmp_path.glob('*.tmp'))


def test_alpha_is_no_band(run, tmp_path, capsys):
  bands = noise(32, 32)
  four = np.concatenate([bands, np.full((1, 32, 32), 255, np.uint8)])
  predictions = {}
  for name, scene in (('three', bands), ('four', four)):
    path = write_scene(tmp_path / f'{name}.tif', scene, names='')
    assert predict(run, path, '--tile=16', f'--output={tmp_path / "x.tif"}') == 0
    predictions[name] = read(tmp_path / 'x-probability.tif')[0]
  assert 'left out, because the model has no channel of this name: alpha' in capsys.readouterr().out
  assert np.array_equal(predictions['three'], predictions['four'])


def test_what_has_no_data_has_no_class(run, tmp_path, capsys):
  bands = noise(40, 48, np.int16)
  bands[:, :20, :32] = -9999
  path = write_scene(tmp_path / 'scene.tif', bands, nodata=-9999)
  assert predict(run, path, '--tile=16', f'--output={tmp_path / "x.tif"}') == 0
  labels, profile = read(tmp_path / 'x.tif')
  assert profile['nodata'] == 255
  assert np.array_equal(labels[0] == 255, bands[0] == -9999)
  probabilities, _ = read(tmp_path / 'x-probability.tif')
  assert np.array_equal(np.isnan(probabilities[0]), bands[0] == -9999)
  assert '640 pixels have no data and no class' in capsys.readouterr().out


def test_a_scene_smaller_than_a_tile_and_bands_in_another_order(run, tmp_path):
  bands = noise(12, 10)
  maps = []
  for order, names in (([0, 1, 2], 'RGB'), ([2, 0, 1], 'BRG')):
    path = write_scene(tmp_path / 'scene.tif', bands[order], names)
    assert predict(run, path, '--tile=16', f'--output={tmp_path / "x.tif"}') == 0
    maps.append(read(tmp_path / 'x-probability.tif')[0])
  np.testing.assert_allclose(*maps, rtol=1e-5)


@pytest.mark.parametrize(('words', 'message'), [
    (['--tile=0'], '--tile=0: expected a whole number of at least 1'), (['--tile=x'], '--tile=x'),
    (['--tile=16', '--stride=17'], 'expected a whole number of at least 1 and at most 16'),
    (['--stride=8'], '--stride goes with --tile'),
    (['--tile=16', '--output=x.csv'], 'expected a file .tif'), (['--tile=16', '--channels=R,X,G'], "'X'")])
def test_a_mistake_is_one_line(run, tmp_path, words, message, capsys):
  path = write_scene(tmp_path / 'scene.tif', noise(16, 16))
  assert predict(run, path, *words) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1


@pytest.mark.parametrize(('scene', 'output'), [
    ('s.tif', 's.tif'), ('s-probability.tif', 's.tif'), ('s.png', 's.tif'), ('s.tif', 'link.tif')])
def test_the_scene_itself_is_never_written_over(run, tmp_path, scene, output, capsys):
  path = write_scene(tmp_path / scene, noise(16, 16))
  (tmp_path / 'link.tif').symlink_to(path)
  content = path.read_bytes()
  assert predict(run, path, '--tile=16', f'--output={tmp_path / output}') == 2
  error = capsys.readouterr().err
  assert 'over the scene itself; expected another name' in error
  assert error.count('\n') == 1
  assert path.read_bytes() == content


def test_scenes_of_the_same_name_keep_maps_of_their_own(small_runs, tmp_path, capsys):
  run = shutil.copytree(small_runs['wide_cnn'], tmp_path / 'run')
  for year in ('2023', '2024'):
    (tmp_path / year).mkdir()
    assert predict(run, write_scene(tmp_path / year / 'scene.tif', noise(16, 16)), '--tile=16') == 0
  names = {f'scene-classes{number}{end}' for number in ('', '-2') for end in ('.tif', '-probability.tif', '.png')}
  assert {path.name for path in run.glob('scene*')} == names
  (tmp_path / 'mine.png').write_bytes(b'mine')
  assert predict(run, tmp_path / '2023/scene.tif', '--tile=16', f'--output={tmp_path / "mine.tif"}') == 2
  assert 'mine.png, which would be written too, exists; expected another name' in capsys.readouterr().err
  assert (tmp_path / 'mine.png').read_bytes() == b'mine'


def test_a_tile_without_a_finite_result_has_no_class_and_is_told(small_runs, tmp_path, capsys):
  bands = noise(16, 32, np.float32)
  bands[:, ::2, 16:] = 3e38
  path = write_scene(tmp_path / 'scene.tif', bands)
  assert predict(small_runs['wide_cnn'], path, '--tile=16', f'--output={tmp_path / "out.tif"}') == 0
  said = capsys.readouterr().out
  assert "a tile left out: the network's outputs are not finite: its values go from " in said
  labels, _ = read(tmp_path / 'out.tif')
  assert (labels[0, :, 16:] == 255).all()
  assert (labels[0, :, :16] < 20).all()


def test_a_scene_of_indices_into_colours_is_refused(run, tmp_path, capsys):
  colours = Image.fromarray(np.moveaxis(noise(16, 16), 0, -1))
  for mode in ('P', '1'):
    colours.convert(mode).save(tmp_path / f'{mode}.tif')
    assert predict(run, tmp_path / f'{mode}.tif', '--tile=16', f'--output={tmp_path / "y.tif"}') == 2
    error = capsys.readouterr().err
    assert f'{mode}.tif: its values are indices into colours' in error
    assert error.count('\n') == 1


def test_what_is_no_raster_and_names_that_do_not_fit(run, tmp_path, capsys):
  (tmp_path / 'x.tif').write_text('no raster')
  assert predict(run, tmp_path / 'x.tif', '--tile=16', f'--output={tmp_path / "y.tif"}') == 2
  assert 'no raster that GDAL opens' in capsys.readouterr().err
  (tmp_path / 'y.tif').touch()
  assert predict(run, tmp_path / 'gone.tif', '--tile=16', f'--output={tmp_path / "y.tif"}') == 2
  assert 'gone.tif' in capsys.readouterr().err
  (tmp_path / 'y.tif').unlink()
  path = write_scene(tmp_path / 'scene.tif', np.concatenate([noise(16, 16), noise(16, 16)[:1]]), 'wxyz')
  assert predict(run, path, '--tile=16', f'--output={tmp_path / "y.tif"}') == 2
  assert 'none fits' in capsys.readouterr().err
  assert not (tmp_path / 'y.tif').exists()
  assert not list(tmp_path.glob('*.tmp'))
