"""The commands: one module for each, with the lines that it prints.

--help and the parsing of the command line need only this table; a command's module is imported when it runs.
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mils_jax.errors import UserError
from mils_jax.export.formats import FORMATS
from mils_jax.training.run_folder import RunFolder

if TYPE_CHECKING:
  from mils_jax.run_config import RunConfig


@dataclasses.dataclass(frozen=True)
class Flag:
  """A flag of a command, in addition to --config and --workdir.

  Attributes:
    default: default text, or False for a switch.
    help: what it does.
    value: name of its value in --help.
    path: whether it is a path.
    many: whether several values may follow it, such as an expanded shell pattern; its value is then a list.
  """

  default: str | bool
  help: str
  value: str = ''
  path: bool = False
  many: bool = False


@dataclasses.dataclass(frozen=True)
class Command:
  """A command: `mils-jax NAME`, or --mode NAME.

  Attributes:
    help: what it does, in one line.
    examples: example flags, in the form that `invocation.command` takes.
    flags: its own flags, by name.
    takes: what it works on: 'run' (a configuration or the run folder that has one), 'sweep' (a sweep's configuration)
      or 'runs' (patterns of run folders).
    plain: flag that a second positional argument sets, '' for none.
    exports: whether it also accepts a folder that export wrote; the request then has no configuration.
  """

  help: str
  examples: tuple[dict[str, Any], ...]
  flags: dict[str, Flag] = dataclasses.field(default_factory=dict)
  takes: str = 'run'
  plain: str = ''
  exports: bool = False


@dataclasses.dataclass(frozen=True)
class Request:
  """The request of a command line or of a program.

  Attributes:
    command: name of the command.
    folder: the run folder, or the folder of a sweep or a report.
    run: configuration of the run; None for a command that takes no single run.
    sweep: configuration of a sweep as it was written; None for others.
    flags: flags of the command.
    words: the whole command line, for the record and for the command that resumes.
  """

  command: str
  folder: RunFolder
  run: 'RunConfig | None'
  sweep: Any
  flags: dict[str, Any]
  words: list[str]

  @property
  def config(self) -> 'RunConfig':
    """The run's configuration, for commands that work on a single run."""
    assert self.run is not None
    return self.run

  def number(self, flag: str, low: int = 1, high: int | None = None) -> int:
    """The whole number that a flag gives; raises UserError where it gives none, or one out of the range."""
    text = self.flags[flag]
    number = int(text) if text.isascii() and text.isdigit() else -1
    if number < low or (high is not None and number > high):
      limit = f' and at most {high}' if high is not None else ''
      raise UserError(f'--{flag}={text}: expected a whole number of at least {low}{limit}')
    return number


_OUTPUT = Flag('', 'folder for the results (default: one in the run folder)', 'FOLDER', path=True)

COMMANDS = {
    'train': Command('train, or resume a stopped run; a finished one prints its result', (
        {'config': 'task_a'},
        {'config': 'task_b', 'config.data.source': 'folder', 'config.data.path': 'images', 'workdir': 'runs/images'}), {
        'distributed': Flag(False, 'train as one of several processes of the cluster that JAX recognises, or of'),
        'coordinator': Flag('', 'the first process, at this address,', 'HOST:PORT'),
        'process_id': Flag('', 'as this one (the first is 0)', 'I'),
        'num_processes': Flag('', 'of so many', 'N')}),
    'evaluate': Command("test a run's best checkpoint again, on its own data or, by other data fields, on others", (
        {'workdir': 'runs/task_a', 'split': 'val'},
        {'config': 'task_a', 'workdir': 'runs/task_a', 'config.data.source': 'folder', 'config.data.path': 'others',
         'split': 'all'}),
        {'split': Flag('test', 'train, val, test or, of other data than its own, all', 'SPLIT'), 'output': _OUTPUT}),
    'predict': Command('write the classes of other images to a CSV', (
        {'workdir': 'runs/task_a', 'input': 'photos'},
        {'workdir': 'runs/task_a', 'input': 'tile.npy', 'channels': 'nir,R,-', 'output': 'tile.csv'}), {
        'input': Flag('', 'images, a folder, an .npz or .npy', 'PATH ...', path=True, many=True),
        'channels': Flag('', "names of the images' channels, in order; - leaves one out", 'red,green,-,nir'),
        'output': Flag('', 'the CSV (default: one in the run folder)', 'FILE.csv', path=True),
        'all_classes': Flag(False, "also write every class's probability"),
        'tile': Flag('', 'of a georeferenced scene, classify tiles of so many pixels, into maps', 'PIXELS'),
        'stride': Flag('', 'from one tile to the next (default: a tile)', 'PIXELS')}, plain='input'),
    'subsets': Command('test what every channel subset costs the trained model', (
        {'workdir': 'runs/task_a'},
        {'config': 'task_a', 'workdir': 'runs/task_a', 'config.evaluation.all_subsets_up_to': 4})),
    'diagnose': Command('show how the trained model uses its kernels', (
        {'workdir': 'runs/task_a'}, {'config': 'task_a'})),
    'compress': Command('make a smaller run of a trained one: merge the kernels of each layer', (
        {'workdir': 'runs/task_a', 'output': 'runs/task_a-merged'},
        {'workdir': 'runs/task_a', 'output': 'runs/task_a-pruned', 'keep': 2}), {
        'output': Flag('', 'folder of the new run', 'FOLDER', path=True),
        'keep': Flag('', 'prune to the K strongest kernels instead', 'K')}),
    'export': Command('write the trained model for use elsewhere, once it was compared with the original', (
        {'workdir': 'runs/task_a', 'format': 'stablehlo'},
        {'workdir': 'runs/task_a', 'format': 'onnx', 'output': 'exported/task_a'}), {
        'format': Flag('', '; '.join(f'{name}: {purpose}' for name, purpose in FORMATS.items()), 'FORMAT'),
        'output': Flag('', 'the folder that is made (default: export/FORMAT in the run folder)', 'FOLDER', path=True)}),
    'push': Command('upload a run, or an export in the format hub, to the Hugging Face Hub', (
        {'workdir': 'runs/task_a', 'repository': 'USER/NAME'},
        {'workdir': 'runs/task_a/export/hub', 'repository': 'USER/NAME'}), {
        'repository': Flag('', 'name of the model on the hub', 'USER/NAME'),
        'private': Flag(False, 'make the model for you alone where it is new (default: public)')},
        plain='repository', exports=True),
    'cost': Command('count parameters and MACs, block by block', (
        {'config': 'task_a'}, {'workdir': 'runs/task_a', 'xla': True}), {
        'xla': Flag(False, "also compile, and print XLA's counts of FLOPs and bytes (a minute or two on a CPU)")}),
    'lr_range': Command('find the range of learning rates that train, by one short run; keeps no weights', (
        {'config': 'task_a'}, {'config': 'any_channels', 'config.optimizer.name': 'muon', 'steps': 300}), {
        'steps': Flag('150', 'of the test', 'N')}),
    'inspect': Command('show what a dataset holds, before anyone trains on it', (
        {'config': 'task_a'},
        {'config': 'task_a', 'config.data.source': 'folder', 'config.data.path': 'images'})),
    'sweep': Command('train several runs, one after the other, and compare them in a table', (
        {'config': 'table2', 'config.common.data.path': 'images', 'dry_run': True},
        {'config': 'table2', 'config.common.data.path': 'images'}), {
        'dry_run': Flag(False, 'only print what would be trained, and for how long')}, takes='sweep'),
    'report': Command('write a page about finished runs to --workdir (default: report)', (
        {'runs': 'runs/*'}, {'runs': 'runs/task_*', 'workdir': 'reports/tasks'}), {
        'runs': Flag('runs/*', 'pattern of run folders', "'runs/*'", path=True)}, takes='runs'),
}


def runner(name: str) -> Callable[[Request], None]:
  """The function that runs a command."""
  return importlib.import_module(f'{__name__}.{name}').run
