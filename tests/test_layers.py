"""The layers of the package: a module imports only from layers before its own, or from its own without circles."""

import ast
from pathlib import Path

import mils_jax

ROOT = Path(mils_jax.__file__).parent
LAYERS = [  # data flows down this list once
    {'errors', 'packages', 'files', 'invocation', 'random_streams'},
    {'config', 'schema'},
    {'channels', 'channel_dropout', 'channel_subsets'},
    {'distributed', 'progress'},
    {'nn'},
    {'data'},
    {'models'},
    {'metrics'},
    {'training'},
    {'run_config', 'build'},
    {'restore', 'classifier', 'run', 'subsets'},
    {'sweeps'},
    {'report'},
    {'export'},
    {'commands'},
    {'builtin_configs', 'command_line', 'usage', 'options_page'},
    {'cli'},
    {'__main__'},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def module_name(path):
  parts = path.relative_to(ROOT.parent).with_suffix('').parts
  return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def imports(path, modules):
  """The modules of the package that a file imports."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names if alias.name in modules)
    elif isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] == 'mils_jax':
      for alias in node.names:
        inner = f'{node.module}.{alias.name}'
        yield inner if inner in modules else node.module
    assert not (isinstance(node, ast.ImportFrom) and node.level), f'{path}: relative import'


MODULES = {module_name(path): path for path in ROOT.rglob('*.py')}
GRAPH = {name: {found for found in imports(path, MODULES) if found != name} for name, path in MODULES.items()}


def test_every_import_goes_to_an_earlier_layer_or_the_same():
  wrong = [f'{name} imports {found}' for name, found_all in GRAPH.items() for found in found_all
           if '.' in name and '.' in found and RANK[name.split('.')[1]] < RANK[found.split('.')[1]]]
  assert wrong == []


def test_every_module_has_a_layer():
  assert {name.split('.')[1] for name in MODULES if '.' in name} <= RANK.keys()


def test_no_imports_go_in_circles():
  visiting, done = [], set()

  def visit(name):
    assert name not in visiting, ' -> '.join([*visiting, name])
    if name not in done:
      visiting.append(name)
      for found in GRAPH[name]:
        if not name.startswith(found + '.'):  # a package's own __init__ is loaded first anyway
          visit(found)
      visiting.pop()
      done.add(name)

  for name in GRAPH:
    visit(name)


def test_nothing_imports_benchmarks_or_tests():
  for path in ROOT.rglob('*.py'):
    lines = [line.strip() for line in path.read_text().splitlines()]  # those inside of functions, too
    outside = ('import benchmarks', 'from benchmarks', 'import tests', 'from tests', 'from configs',
               'import mils_jax.configs', 'from mils_jax.configs', 'from mils_jax import configs')
    assert not any(line.startswith(outside) for line in lines)


def test_no_name_of_a_file_stands_twice():
  """But for verbs: a module of commands/ may be called as what it runs."""
  names = [path.name for path in MODULES.values() if path.parent.name != 'commands' and path.name != '__init__.py']
  assert sorted(names) == sorted(set(names))
