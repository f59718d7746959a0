"""What the program does: one module for each command, with the lines that it prints.

This table is what --help and the parsing of flags need; a command's module is imported when it runs.
"""

import dataclasses
import importlib
from collections.abc import Callable

from mils_jax.commands.request import Request


@dataclasses.dataclass(frozen=True)
class Flag:
  """A flag of a command, beside --config and --workdir.

  Attributes:
    default: text, or False for a switch.
    help: what it does.
    value: names its value in --help.
    path: whether it is a path.
    many: whether several values may follow it, as a shell's pattern gives; its value is then a list.
  """

  default: str | bool
  help: str
  value: str = ''
  path: bool = False
  many: bool = False


@dataclasses.dataclass(frozen=True)
class Command:
  """A command.

  Attributes:
    help: what it does, in a line.
    flags: its own, by name.
    takes: what it works on: 'run' (a configuration or the run folder that has one), 'sweep' (a sweep's configuration)
      or 'runs' (a pattern of run folders).
  """

  help: str
  flags: dict[str, Flag] = dataclasses.field(default_factory=dict)
  takes: str = 'run'


_OUTPUT = Flag('', 'folder for the results (default: one in the run folder)', 'FOLDER', path=True)

COMMANDS = {
    'train': Command('train, or resume a stopped run; a finished one prints its result', {
        'distributed': Flag(False, 'train as one of several processes of the cluster that JAX recognises, or of'),
        'coordinator': Flag('', 'the first process, at this address,', 'HOST:PORT'),
        'process_id': Flag('', 'as this one (the first is 0)', 'I'),
        'num_processes': Flag('', 'of so many', 'N')}),
    'evaluate': Command("test a run's best checkpoint again, on its own data or, by other data fields, on another set",
                        {'split': Flag('test', 'train, val or test', 'SPLIT'), 'output': _OUTPUT}),
    'predict': Command('write the classes of other images to a CSV', {
        'input': Flag('', 'images, a folder, an .npz or .npy', 'PATH ...', path=True, many=True),
        'channels': Flag('', "names of the images' channels, in order; - leaves one out", 'red,green,-,nir'),
        'output': Flag('', 'the CSV (default: one in the run folder)', 'FILE.csv', path=True),
        'all_classes': Flag(False, "also write every class's probability"),
        'tile': Flag('', 'of a georeferenced scene, classify tiles of so many pixels, into maps', 'PIXELS'),
        'stride': Flag('', 'from one tile to the next (default: a tile)', 'PIXELS')}),
    'subsets': Command('test what every channel subset costs the trained model'),
    'diagnose': Command('show how the trained model uses its kernels'),
    'compress': Command('make a smaller run of a trained one: merge the kernels of each layer', {
        'output': Flag('', 'folder of the new run', 'FOLDER', path=True),
        'keep': Flag('', 'prune to the K strongest kernels instead', 'K')}),
    'cost': Command("count parameters, MACs and XLA's FLOPs, block by block"),
    'inspect': Command('show what a dataset holds, before anyone trains on it'),
    'sweep': Command('train several runs, one after the other, and compare them in a table', {
        'dry_run': Flag(False, 'only print what would be trained, and for how long')}, takes='sweep'),
    'report': Command('write a page about finished runs to --workdir (default: report)', {
        'runs': Flag('runs/*', 'pattern of run folders', "'runs/*'", path=True)}, takes='runs'),
}


def runner(name: str) -> Callable[[Request], None]:
  """The function that runs a command."""
  return importlib.import_module(f'{__name__}.{name}').run
