"""What stands in README and docs/ to be copied works: Python runs, commands are understood."""

import itertools
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from mils_jax import builtin_configs
from mils_jax.command_line import load_config, read_words
from mils_jax.commands import COMMANDS
from mils_jax.options_page import REWRITE, options_page

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
PROGRAM = re.compile(r'(?:mils-jax|python main\.py)(?= )')


def python_blocks(page):
  """Title, '' for none, and code of each Python block."""
  return re.findall(r'^```python(?: title="([^"]*)")?\n(.*?)^```', page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page):
  """The program's command lines in blocks, each as words."""
  text = page.read_text().replace('\\\n', ' ')
  blocks = re.findall(r'^```(?:console|text)?\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
  lines = [line for block in blocks for line in block.splitlines()] + re.findall(r'^    (.*)', text, re.MULTILINE)
  for line in lines:
    if found := PROGRAM.search(line):
      rest = line[found.start():]
      rest = rest.rstrip("'") if rest.count("'") % 2 else rest  # the end of a longer, quoted command
      words = shlex.shlex(rest, posix=True, punctuation_chars=True)
      words.wordchars += '{}:,[]$'
      words = list(itertools.takewhile(lambda word: not set(word) <= set('();<>|&'), words))
      yield words[words[0] == 'python':]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
  """A folder with everything that a command names."""
  for folder in ('task_a', 'task_b', 'resnet34', 'generalist', 'mine', 'bands'):
    (tmp_path / 'runs' / folder).mkdir(parents=True)
  (tmp_path / 'exported/hub').mkdir(parents=True)
  (tmp_path / 'configs').symlink_to(ROOT / 'configs')
  for title, code in python_blocks(ROOT / 'docs/recipes.md'):
    (tmp_path / title).write_text(code)
  monkeypatch.chdir(tmp_path)
  return tmp_path


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_every_command_is_understood(page, workplace):
  for words in commands(page):
    read = read_words(words)
    if read.config:
      load_config(read)


def test_commands_are_found():
  assert ['mils-jax', 'train', 'task_a'] in commands(ROOT / 'docs/index.md')
  assert ['main.py', '--mode', 'evaluate', '--workdir', 'runs/task_a'] in commands(ROOT / 'docs/index.md')
  assert sum(len(list(commands(page))) for page in PAGES) > 40


# Those of export.md run in tests/export/test_examples.py, some of them without this program.
@pytest.mark.parametrize('page', [page for page in PAGES if python_blocks(page) and page.name != 'export.md'],
                         ids=lambda page: page.name)
def test_every_python_block_runs(page, small_runs, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  shutil.copytree(small_runs['dynamic_resnet12'], 'runs/task_a')
  names = {}
  for _, code in python_blocks(page):
    exec(code, names)
  if page.name == 'api.md':
    assert names['logits'].shape == (4, 10)
    assert names['missing'] == ('G',)
  if page.name == 'recipes.md':
    assert names['get_config']().data.source == 'arrays'


def test_every_file_that_the_readme_names_exists():
  names = re.findall(r'\]\(([^):]+)\)|\b((?:configs|docs)/[\w./]+\w)', PAGES[0].read_text())
  assert len(names) > 10
  assert [name for found in names for name in found if name and not (ROOT / name).exists()] == []


def test_the_map_of_the_code_names_every_folder():
  text = (ROOT / 'docs/code.md').read_text()
  folders = {path.name for path in (ROOT / 'mils_jax').iterdir() if path.is_dir()} - {'__pycache__'}
  assert [name for name in folders if f'{name}/' not in text] == []


def test_every_command_page_and_built_in_configuration_is_reached():
  nav = (ROOT / 'mkdocs.yml').read_text()
  assert all(f': {page.name}\n' in nav for page in PAGES[1:])
  text = ''.join(page.read_text() for page in PAGES[1:])
  assert all(f'`{name}`' in text for name in builtin_configs.builtin_configs())
  assert all(re.search(rf'`(mils-jax )?{name}[ `]|^\$ mils-jax {name} ', text, re.MULTILINE) for name in COMMANDS)


def test_the_page_of_options_is_what_the_code_declares():
  page = ROOT / 'docs/options.md'
  if os.environ.get('MILS_WRITE_DOCS'):
    page.write_text(options_page())
  assert page.read_text() == options_page(), f'docs/options.md is out of date; rewrite it: {REWRITE}'


def test_every_field_that_is_named_is_one():
  from mils_jax.configs import resnet34, task_a, task_b
  known = set()
  for config in (resnet34.get_config(), task_a.get_config(), task_b.get_config()):
    for section, values in config.items():
      if hasattr(values, 'keys'):
        known |= {f'{section}.{name}' for name in values}
  sections = {name.partition('.')[0] for name in known}
  for page in [ROOT / 'docs' / f'{name}.md' for name in ('index', 'data', 'channels', 'recipes', 'runs', 'api')]:
    for name in re.findall(r'`(?:--config\.)?([a-z_]+\.(?!txt|csv)[a-z_0-9]+)', page.read_text()):
      assert name.partition('.')[0] not in sections or name in known, f'{page.name}: {name}'
