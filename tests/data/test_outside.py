import re

import numpy as np
import pytest
import tifffile
from PIL import Image

from mils_jax.errors import UserError
from tests.data.fakes import folder_source, read_pixels


@pytest.mark.parametrize('outside', ['../secret.png', 'a/../../secret.png', '{tmp}/secret.png'])
def test_a_list_cannot_leave_its_root_unless_allowed(outside, tmp_path):
  root = tmp_path / 'root'
  (root / 'a').mkdir(parents=True)
  for folder in (tmp_path, root):
    Image.new('RGB', (4, 4)).save(folder / 'secret.png')
  name = outside.format(tmp=tmp_path)
  (root / 'train.txt').write_text(f'secret.png 0\n{name} 0\n')
  with pytest.raises(UserError, match=r'lies outside of .*allow_outside=true'):
    folder_source(root)
  assert folder_source(root, allow_outside=True).example_id('train', 1) == name


def test_dots_that_stay_inside_are_no_leaving(tmp_path):
  for name in ('..a.png', '..b.png'):
    Image.new('RGB', (4, 4)).save(tmp_path / name)
  (tmp_path / 'train.txt').write_text('./..a.png 0\nx/../..b.png 0\n')
  assert folder_source(tmp_path).length('train') == 2


def test_nor_through_a_link(tmp_path):
  """Of an image or of a folder; links that stay inside are followed, and so is the root's own."""
  real = tmp_path / 'real'
  (real / 'a').mkdir(parents=True)
  (tmp_path / 'elsewhere').mkdir()
  for folder in (real / 'a', tmp_path / 'elsewhere'):
    Image.new('RGB', (4, 4)).save(folder / 'b.png')
  root = tmp_path / 'root'
  root.symlink_to(real)
  (real / 'within.png').symlink_to('a/b.png')
  (real / 'around').symlink_to('a')
  (real / 'a/out.png').symlink_to(tmp_path / 'elsewhere/b.png')
  (real / 'away').symlink_to('../elsewhere')
  for name in ('a/out.png', 'around/out.png', 'away/b.png', 'a/../away/b.png'):
    (root / 'train.txt').write_text(f'a/b.png 0\nwithin.png 0\naround/b.png 0\n{name} 0\n')
    with pytest.raises(UserError, match=rf"train\.txt: '{re.escape(name)}' lies outside of .*allow_outside=true"):
      folder_source(root).inputs()
    assert len(folder_source(root, allow_outside=True).inputs()) == 4
  (root / 'train.txt').write_text('a/b.png 0\nwithin.png 0\naround/b.png 0\n')
  assert len(folder_source(root).inputs()) == 3


OME = ('<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
       'UUID="urn:uuid:1"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="8" '
       'SizeY="8" SizeC="2" SizeZ="1" SizeT="1"><Channel ID="c:0" SamplesPerPixel="1"/><Channel ID="c:1" '
       'SamplesPerPixel="1"/><TiffData FirstC="0" IFD="0" PlaneCount="1"><UUID FileName="a.ome.tif">urn:uuid:1</UUID>'
       '</TiffData><TiffData FirstC="1" IFD="{page}" PlaneCount="1"><UUID FileName="{file}">urn:uuid:{number}</UUID>'
       '</TiffData></Pixels></Image></OME>')


@pytest.mark.parametrize('called', ['a.ome.tif', 'renamed.tif'])
def test_nor_does_an_ome_tiff_by_the_files_that_it_names(tmp_path, called):
  (tmp_path / 'root').mkdir()
  pages = np.stack([np.full((8, 8), level, np.uint8) for level in (1, 2)])
  path = tmp_path / 'root' / called
  tifffile.imwrite(tmp_path / 'secret.tif', pages[1])
  for other in ('../secret.tif', 'missing.tif'):
    tifffile.imwrite(path, pages[0], description=OME.format(page=0, file=other, number=2), metadata=None)
    with pytest.raises(UserError, match=f'a part of an image in several files, such as {re.escape(other)}; expected'):
      read_pixels(path)
  tifffile.imwrite(path, pages, photometric='minisblack', metadata=None,
                   description=OME.format(page=1, file='a.ome.tif', number=1))
  assert read_pixels(path)[0, 0].tolist() == [1, 2]


@pytest.mark.parametrize('link', ['train/a', 'train/a/b.png'])
def test_nor_does_a_tree_leave_it(link, tmp_path):
  target = tmp_path / 'elsewhere' / link
  target.parent.mkdir(parents=True)
  (tmp_path / 'root' / link).parent.mkdir(parents=True)
  image = target if target.suffix else target / 'b.png'
  image.parent.mkdir(exist_ok=True)
  Image.new('RGB', (4, 4)).save(image)
  (tmp_path / 'root' / link).symlink_to(target)
  with pytest.raises(UserError, match=r"'train/a/b\.png' lies outside of .*allow_outside=true"):
    folder_source(tmp_path / 'root').inputs()
  assert len(folder_source(tmp_path / 'root', allow_outside=True).inputs()) == 1
