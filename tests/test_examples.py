"""The examples in docstrings run and print what they say; papers stand there with their addresses."""

import ast
import doctest
import inspect
import re
import shutil
from pathlib import Path

import pytest

import mils_jax
from mils_jax import models, nn
from mils_jax.models import torch_names
from mils_jax.models.network import ImageClassifier

NETWORKS = [name for name in models.__all__
            if isinstance(getattr(models, name), type) and issubclass(getattr(models, name), ImageClassifier)]
PUBLIC = {
    **{name: getattr(nn, name) for name in nn.__all__},
    **{name: getattr(models, name) for name in NETWORKS},
    **{name: getattr(mils_jax, name) for name in mils_jax.__all__ if not name.startswith('__')},
    'Classifier.compiled': mils_jax.Classifier.compiled,
    **{name: getattr(torch_names, name) for name in ('from_torch', 'to_torch')},
}
PAPER = re.compile(r"et\s+al\.|[A-Z][\w'-]*,?\s+\(?(?:19|20)\d\d\b|\w\s\((?:19|20)\d\d\)|\d,\s(?:19|20)\d\d[,)]")


@pytest.fixture(scope='module')
def folders(small_runs, tmp_path_factory):
  """What examples name and do not make: a finished run, and one whose best checkpoint lost a file."""
  damaged = tmp_path_factory.mktemp('damaged') / 'run'
  shutil.copytree(small_runs['dynamic_resnet12'], damaged)
  # Its list of files, the one that reading always needs: how arrays are spread over the others changes by the run.
  (manifest,) = (damaged / 'checkpoints' / 'best').glob('*/variables/manifest.ocdbt')
  manifest.unlink()
  return {'folder': small_runs['dynamic_resnet12'], 'damaged': damaged}


def examples_of(name):
  docstring = inspect.cleandoc(PUBLIC[name].__doc__ or '')
  return doctest.DocTestParser().get_doctest(docstring, {}, name, None, None)


@pytest.mark.parametrize('name', PUBLIC)
def test_every_public_name_has_an_example(name):
  test = examples_of(name)
  assert '\nExample:\n  >>> ' in test.docstring
  assert any(example.want for example in test.examples), 'it shows no result'


@pytest.mark.parametrize('name', PUBLIC)
def test_the_example_prints_what_it_says(name, request):
  test = examples_of(name)
  if re.search(r'\b(folder|damaged)\b', ''.join(example.source for example in test.examples)):
    test.globs.update(request.getfixturevalue('folders'))
  runner, printed = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS), []
  assert runner.run(test, out=printed.append).failed == 0, ''.join(printed)


def docstrings(path):
  """Line and docstring of the module and of every class and function in it."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
      yield getattr(node, 'lineno', 1), ast.get_docstring(node) or ''


def test_every_paper_has_its_address():
  root = Path(mils_jax.__file__).parent
  papers = [(f'{path.relative_to(root)}:{line}', docstring) for path in sorted(root.rglob('*.py'))
            for line, docstring in docstrings(path) if PAPER.search(docstring.replace('JPEG 2000', 'a format'))]
  assert len(papers) > 20
  assert [place for place, docstring in papers if 'https://' not in docstring] == []
