"""The command line: flags to one function per mode, and every foreseen failure to one line and an exit code."""

import dataclasses
import hashlib
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from mils_jax.build import cache_folder, open_data
from mils_jax.data.inspection import inspect
from mils_jax.errors import RunError, Stopped, UserError, unknown
from mils_jax.host_memory import keep_freed_memory
from mils_jax.progress import say
from mils_jax.reports.compress import compression_lines
from mils_jax.reports.diagnostics import diagnostic_lines
from mils_jax.reports.inspection import write_inspection
from mils_jax.reports.study import TABLES, estimate_lines, write_table
from mils_jax.reports.subsets import subset_lines
from mils_jax.reports.text import cost_lines, prediction_lines, result_lines
from mils_jax.studies.compress import run_compression
from mils_jax.studies.cost import measure_cost
from mils_jax.studies.diagnostics import run_diagnostics
from mils_jax.studies.estimate import estimate_study
from mils_jax.studies.evaluate import run_evaluation
from mils_jax.studies.predict import run_prediction
from mils_jax.studies.study import check_study, read_study, run_study
from mils_jax.studies.subsets import run_subsets
from mils_jax.studies.train import run_training
from mils_jax.training.run_folder import RUNTIME, RunFolder, write_json
from mils_jax.training.stopping import StopSignals

USAGE = """Image classifiers for any input channels, and shallow wide ones.

usage: python main.py --config FILE[:VARIANT] [--config.FIELD=VALUE ...] [--workdir FOLDER] [--mode MODE]

  --config    a configuration such as configs/task_a.py, configs/task_b.py:mini_imagenet, configs/resnet34.py
  --config.*  any of its fields, such as --config.train.epochs=10; the file lists them with their meaning
  --workdir   the run folder (default: runs/ and a name made from the configuration and its changed fields)
  --mode      train (default), evaluate (the best checkpoint again), cost (parameters, MACs, XLA's FLOPs),
              inspect (what the data holds, before anyone trains), predict (classes of other pictures), subsets (what
              each channel subset costs the trained model), diagnose (how the trained model uses its kernels), compress
              (a smaller run made of it) or study (several runs and their table, from a configuration such as
              configs/studies/specialists.py)
  study       [--dry_run] only says what would be trained, and for how long
  predict     --input PATH (a picture, a folder, an .npz or .npy) [--channels red,green,-,nir] [--output FILE.csv]
              [--all_classes]
  compress    --output FOLDER [--keep K] merges the kernels of each layer into one, or keeps only the K strongest
  --help      this text
"""

FLAGS: dict[str, str | bool] = {  # flags that only some modes take, with their defaults
    'input': '',
    'channels': '',
    'output': '',
    'all_classes': False,
    'dry_run': False,
    'keep': '',
}


@dataclasses.dataclass(frozen=True)
class Command:
  """What the flags say: the configuration, the run folder, the mode's own flags and the words themselves."""

  mode: str
  config: ConfigDict
  folder: RunFolder
  flags: dict[str, str | bool]
  argv: list[str]


@dataclasses.dataclass(frozen=True)
class Mode:
  """What one word after --mode does, and which of FLAGS it takes."""

  run: Callable[[Command], None]
  flags: tuple[str, ...] = ()


def train_mode(command: Command) -> None:
  results = run_training(command.config, command.folder, command.argv)
  _say_all(result_lines(results, command.folder.path))


def evaluate_mode(command: Command) -> None:
  results = run_evaluation(command.config, command.folder)
  _say_all(result_lines(results, command.folder.path))


def cost_mode(command: Command) -> None:
  command.folder.check(command.config.to_dict())
  cost = measure_cost(command.config)
  command.folder.claim(command.config.to_dict())
  path = command.folder.path / 'cost.json'
  write_json(path, cost.to_json())
  _say_all([*cost_lines(cost), '', f'saved as {path}'])


def inspect_mode(command: Command) -> None:
  command.folder.check(command.config.to_dict())
  data = open_data(command.config, allow_not_finite=True)
  command.folder.claim(command.config.to_dict())
  _say_all(write_inspection(inspect(data), data, command.folder.path / 'inspection'))


def subsets_mode(command: Command) -> None:
  report = run_subsets(command.config, command.folder)
  report.save(command.folder)
  _say_all(subset_lines(report, command.folder.path))


def diagnose_mode(command: Command) -> None:
  report = run_diagnostics(command.config, command.folder)
  report.save(command.folder)
  _say_all(diagnostic_lines(report, command.folder.path))


def compress_mode(command: Command) -> None:
  output, keep = command.flags['output'], command.flags['keep']
  values = run_compression(command.config, command.folder, output, keep, command.argv)
  _say_all(compression_lines(values, Path(output)))


def study_mode(command: Command) -> None:
  study = read_study(command.config, command.folder.path)
  if study.table not in TABLES:
    raise unknown('table', study.table, TABLES)
  TABLES[study.table].check(study)
  _use_compilation_cache(study.members[0].config)
  if command.flags['dry_run']:
    return _say_all(estimate_lines(study, estimate_study(study)))
  with StopSignals():  # between members and in the table too, where no training listens
    failures = run_study(study, command.argv)
    _say_all(['', *write_table(study)])
  if failures:
    raise RunError(f'{", ".join(failures)}, of {len(study.members)} members; the reasons stand above, and the same '
                   'command tries again')


def predict_mode(command: Command) -> None:
  given = command.flags
  summary = run_prediction(command.config, command.folder, given['input'], given['channels'], given['output'],
                           given['all_classes'])
  _say_all(prediction_lines(summary))
  if summary.errors:
    raise RunError(f'{len(summary.errors)} pictures could not be classified; their rows in {summary.output} say why')


MODES = {
    'train': Mode(train_mode),
    'evaluate': Mode(evaluate_mode),
    'cost': Mode(cost_mode),
    'inspect': Mode(inspect_mode),
    'subsets': Mode(subsets_mode),
    'diagnose': Mode(diagnose_mode),
    'compress': Mode(compress_mode, ('output', 'keep')),
    'study': Mode(study_mode, ('dry_run',)),
    'predict': Mode(predict_mode, ('input', 'channels', 'output', 'all_classes')),
}


def main(argv: list[str]) -> int:
  """Runs one command; `argv` is as sys.argv. Returns the exit code: 0, 1 a run failed, 2 a mistake in the command."""
  if any(word in ('--help', '-h', '-help') for word in argv[1:]):
    print(USAGE)
    return 0
  keep_freed_memory()
  try:
    command = parse(argv)
    if command.mode != 'study':  # whose members say it
      _use_compilation_cache(command.config)
    MODES[command.mode].run(command)
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  except RunError as error:
    print(f'failed: {error}', file=sys.stderr)
    return 1
  except Stopped as stopped:
    print(f'{stopped}. The same command goes on from the last checkpoint: python {shlex.join(argv)}', file=sys.stderr)
    return stopped.exit_code
  except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    return 130
  except OSError as error:  # a full or read-only disk, wherever it was met
    print(f'failed: {error.filename or ""}: {error.strerror or error}'.replace(': :', ':'), file=sys.stderr)
    return 1
  return 0


def parse(argv: list[str]) -> Command:
  """Reads the flags; raises UserError for each way in which they can be wrong."""
  words = [re.sub('^-(?=[a-z])', '--', word) for word in argv]
  mode, workdir, path, own = _plain_flags(words)
  if not path:
    if mode == 'study':
      raise UserError('--mode study needs a --config such as configs/studies/specialists.py')
    if not workdir:
      raise UserError('no --config given. Try --config configs/task_a.py, or --help')
    folder = RunFolder(Path(workdir))
    return Command(mode, ConfigDict(folder.read_config()).lock(), folder, own, argv)
  config, overrides = _load_config(words, path)
  if mode == 'study':
    check_study(config)
  elif 'members' in config:
    raise UserError(f'{path} describes a study, not a run: give --mode study')
  folder = RunFolder(Path(workdir) if workdir else Path('runs') / run_name(config.name, path, overrides))
  return Command(mode, config, folder, own, argv)


def run_name(name: str, path: str, overrides: dict) -> str:
  """A folder name from the configuration's name, its variant and its changed fields (those that change results)."""
  variant = path.partition(':')[2]
  overrides = {key.removeprefix('common.'): value for key, value in overrides.items()}  # of all members of a study
  fields = [f'{key.removeprefix("train.")}={value}' for key, value in sorted(overrides.items())
            if not key.startswith(tuple(f'{part}.' for part in RUNTIME))]
  text = '-'.join(part for part in (name, variant, *fields) if part)
  readable = re.sub(r'[^\w.=,+-]', '_', text)
  if readable == text and len(text) <= 100:
    return text
  return f'{readable[:80]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}'


def _plain_flags(words: list[str]) -> tuple[str, str, str, dict[str, str | bool]]:
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
  if values.mode not in MODES:
    raise unknown('mode', values.mode, MODES)
  taken = MODES[values.mode].flags
  for name in FLAGS:
    if values[name].present and name not in taken:
      raise UserError(f'--{name} is no flag of --mode {values.mode}. Modes that take it: '
                      + ', '.join(mode for mode in MODES if name in MODES[mode].flags))
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
    near = sorted(str(found) for found in Path('configs').glob('*.py') if 'def get_config' in found.read_text())
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


def _use_compilation_cache(config: ConfigDict) -> None:
  """Keeps compiled programs between starts, unless the user's environment already says where."""
  if jax.config.jax_compilation_cache_dir is None:
    jax.config.update('jax_compilation_cache_dir', str(cache_folder(config) / 'compiled'))


def _say_all(lines: list[str]) -> None:
  for line in lines:
    say(line)
