import pytest
from PIL import Image

from mils_jax.data.sources.folder import FolderSource
from mils_jax.errors import UserError


@pytest.mark.parametrize('outside', ['../secret.png', 'a/../../secret.png', '{tmp}/secret.png'])
def test_a_list_cannot_leave_its_root_unless_allowed(outside, tmp_path):
  root = tmp_path / 'root'
  (root / 'a').mkdir(parents=True)
  for folder in (tmp_path, root):
    Image.new('RGB', (4, 4)).save(folder / 'secret.png')
  name = outside.format(tmp=tmp_path)
  (root / 'train.txt').write_text(f'secret.png 0\n{name} 0\n')
  with pytest.raises(UserError, match=r'lies outside of .*allow_outside=true'):
    FolderSource(str(root))
  assert FolderSource(str(root), allow_outside=True).identity('train', 1) == name


def test_dots_that_stay_inside_are_no_leaving(tmp_path):
  Image.new('RGB', (4, 4)).save(tmp_path / '..a.png')
  (tmp_path / 'train.txt').write_text('./..a.png 0\nx/../..a.png 0\n')
  assert FolderSource(str(tmp_path)).length('train') == 2
