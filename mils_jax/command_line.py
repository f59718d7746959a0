"""What the words of the command line say: the mode, its flags, the configuration with its changes, the run folder."""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from mils_jax.distributed import launch as membership
from mils_jax.errors import UserError, unknown
from mils_jax.sweeps.sweep import check_sweep
from mils_jax.training.run_folder import RUNTIME, RunFolder

USAGE = """Image classifiers for any input channels, and shallow wide ones.

usage: python main.py --config FILE[:VARIANT] [--config.FIELD=VALUE ...] [--workdir FOLDER] [--mode MODE]

  --config    a configuration such as configs/task_a.py, configs/task_b.py:mini_imagenet, configs/resnet34.py
  --config.*  any of its fields, such as --config.train.epochs=10; the file lists them with their meaning
  --workdir   the run folder (default: runs/ and a name made from the configuration and its changed fields)
  --mode      train (default), evaluate (the best checkpoint again), cost (parameters, MACs, XLA's FLOPs),
              inspect (what the data holds, before anyone trains), predict (classes of other images), subsets (what
              each channel subset costs the trained model), sweep (several runs and their table, from a configuration
              such as configs/sweeps/specialists.py), report (a page on finished runs), diagnose (how the trained model
              uses its kernels) or compress (a smaller run made of it)
  evaluate    [--split train|val|test] [--output FOLDER] tests on that split (default: test), and writes into that
              folder (default: one in the run's)
  report      [--runs 'runs/*'] writes about the run folders of that pattern, into --workdir (default: report)
  sweep       [--dry_run] only says what would be trained, and for how long
  predict     --input PATH (an image, a folder, an .npz or .npy) [--channels red,green,-,nir] [--output FILE.csv]
              [--all_classes]
  compress    --output FOLDER [--keep K] merges the kernels of each layer into one, or keeps only the K strongest
  --distributed [--coordinator HOST:PORT --process_id I --num_processes N]
              train as one of several processes: those of the cluster that JAX recognises, or of these addresses
  --help      this text
"""

FLAGS: dict[str, str | bool] = {  # flags that only some modes take, with their defaults
    'input': '',
    'channels': '',
    'output': '',
    'all_classes': False,
    'dry_run': False,
    'keep': '',
    'split': 'test',
    'runs': 'runs/*',
    **membership.FLAGS,
}


@dataclasses.dataclass(frozen=True)
class Command:
  """What the flags say: the configuration, the run folder, the mode's own flags and the words themselves."""

  mode: str
  config: ConfigDict | None
  folder: RunFolder
  flags: dict[str, str | bool]
  argv: list[str]


@dataclasses.dataclass(frozen=True)
class Mode:
  """What one word after --mode does, which of FLAGS it takes, and whether it works on one configuration."""

  run: Callable[[Command], None]
  flags: tuple[str, ...] = ()
  configured: bool = True


def parse(argv: list[str], modes: Mapping[str, Mode]) -> Command:
  """Reads the flags of one of `modes`; raises UserError for each way in which they can be wrong."""
  words = [re.sub('^-(?=[a-z])', '--', word) for word in argv]
  mode, workdir, path, own = _plain_flags(words, modes)
  if not modes[mode].configured:
    if path:
      raise UserError(f'--mode {mode} takes no --config: every run has its own')
    return Command(mode, None, RunFolder(Path(workdir or mode)), own, argv)
  if not path:
    if mode == 'sweep':
      raise UserError('--mode sweep needs a --config such as configs/sweeps/specialists.py')
    if not workdir:
      raise UserError('no --config given. Try --config configs/task_a.py, or --help')
    folder = RunFolder(Path(workdir))
    return Command(mode, ConfigDict(folder.read_config()).lock(), folder, own, argv)
  config, overrides = _load_config(words, path)
  if mode == 'sweep':
    check_sweep(config)
  elif 'members' in config:
    raise UserError(f'{path} describes a sweep, not a run: give --mode sweep')
  folder = RunFolder(Path(workdir) if workdir else Path('runs') / run_name(config.name, path, overrides))
  return Command(mode, config, folder, own, argv)


def run_name(name: str, path: str, overrides: dict) -> str:
  """A folder name from the configuration's name, its variant and its changed fields (those that change results)."""
  variant = path.partition(':')[2]
  overrides = {key.removeprefix('common.'): value for key, value in overrides.items()}  # of all members of a sweep
  fields = [f'{key.removeprefix("train.")}={value}' for key, value in sorted(overrides.items())
            if not key.startswith(tuple(f'{part}.' for part in RUNTIME))]
  text = '-'.join(part for part in (name, variant, *fields) if part)
  readable = re.sub(r'[^\w.=,+-]', '_', text)
  if readable == text and len(text) <= 100:
    return text
  return f'{readable[:80]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}'


def _plain_flags(words: list[str], modes: Mapping[str, Mode]) -> tuple[str, str, str, dict[str, str | bool]]:
  """Mode, workdir, config path and the mode's own flags; refuses words that are no flag of it."""
  values = _define_flags(mode='train', workdir='', config='')
  plain, skip = [words[0]], False
  for word in words[1:]:
    if re.match('--(no)?config[.]', word):
      skip = '=' not in word  # '--config.key value' takes the next word too
    elif skip and not word.startswith('--'):
      skip = False
    else:
      plain.append(word)
      skip = False
  try:
    rest = values(plain)
  except flags.Error as error:
    raise UserError(f'{str(error).splitlines()[0].rstrip(".")}. Valid flags: {_valid_flags()}') from error
  if len(rest) > 1:
    raise UserError(f"'{rest[1]}' is no flag. Valid flags: {_valid_flags()}")
  if any(word.startswith('--config.') for word in words) and not values.config:
    raise UserError('--config.FIELD needs --config FILE beside it')
  if values.mode not in modes:
    raise unknown('mode', values.mode, modes)
  taken = modes[values.mode].flags
  for name in FLAGS:
    if values[name].present and name not in taken:
      raise UserError(f'--{name} is no flag of --mode {values.mode}. Modes that take it: '
                      + ', '.join(mode for mode in modes if name in modes[mode].flags))
  return values.mode, values.workdir, values.config, {name: values[name].value for name in taken}


def _define_flags(**plain: str) -> flags.FlagValues:
  values = flags.FlagValues()
  for name, default in (plain | FLAGS).items():
    define = flags.DEFINE_bool if isinstance(default, bool) else flags.DEFINE_string
    define(name, default, '', flag_values=values)
  return values


def _valid_flags() -> str:
  return ', '.join(['--config', '--config.FIELD', '--mode', '--workdir', *(f'--{name}' for name in FLAGS), '--help'])


def _load_config(words: list[str], path: str) -> tuple[ConfigDict, dict]:
  """The configuration with the command line's changes, and these changes by field."""
  file = path.partition(':')[0]
  if not Path(file).is_file():
    near = sorted(str(found) for found in Path('configs').glob('**/*.py') if 'def get_config' in found.read_text())
    raise UserError(f"config file '{file}' does not exist. Here are: {', '.join(near) or 'none in configs/'}")
  _check_fields(words, _parse_config([words[0], f'--config={path}'])[0])
  return _parse_config(words)


def _parse_config(words: list[str]) -> tuple[ConfigDict, dict]:
  values = _define_flags(mode='', workdir='')
  config_flags.DEFINE_config_file('config', flag_values=values, sys_argv=words)
  try:
    values(words)
  except (flags.Error, AttributeError, ImportError, SyntaxError) as error:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, flags.Error) and 'Error whilst parsing config file' not in lines[0]:
      raise UserError(lines[0]) from error
    reason = lines[-1]  # of a traceback, where get_config failed
    raise UserError(f'the config file cannot be used: {reason}. Expected Python with get_config(), or '
                    'get_config(variant) where a variant follows the colon') from error
  return values.config, dict(values['config'].override_values)


def _check_fields(words: list[str], config: ConfigDict) -> None:
  """Raises UserError for an override of a field that the configuration has not."""
  for word in words:
    if not word.startswith('--config.'):
      continue
    section, known = config, ''
    for part in word.removeprefix('--config.').partition('=')[0].split('.'):
      if not isinstance(section, ConfigDict) or part not in section:
        choices = section.keys() if isinstance(section, ConfigDict) else ()
        raise unknown('config field', known + part, [known + key for key in choices])
      section, known = section[part], f'{known}{part}.'
