"""What the words of the command line ask for: the command, its flags, the changed configuration, the folder."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from mils_jax.commands import COMMANDS, Flag
from mils_jax.commands.request import Request
from mils_jax.errors import UserError, unknown
from mils_jax.files import local_path
from mils_jax.schema import FREE
from mils_jax.training.run_folder import RunFolder

_USAGE = """Image classifiers for any input channels, and shallow wide ones.

usage: python main.py --config FILE[:VARIANT] [--config.FIELD=VALUE ...] [--workdir FOLDER] [--mode MODE]

  --config    a configuration such as configs/task_a.py, configs/task_b.py:mini_imagenet, configs/resnet34.py
  --config.*  any of its fields, such as --config.train.epochs=10; with --help beside --config all are listed
  --workdir   the run folder (default: runs/ and a name made from the configuration and its changed fields)
  --mode      what to do (default: train), each with flags of its own:
"""


def usage() -> str:
  """The text of --help."""
  lines = [_USAGE.rstrip()]
  for name, command in COMMANDS.items():
    lines += ['', f'  {name:<10}  {command.help}']
    for flag, declared in command.flags.items():
      word = f'--{flag} {declared.value}'.rstrip()
      lines.append(f'      {word:<30}  {declared.help}')
  return '\n'.join(lines)


def wants_help(words: list[str]) -> bool:
  return any(word in ('--help', '-h', '-help') for word in words[1:])


def help_lines(words: list[str]) -> list[str]:
  """What --help prints: the usage, or, beside a --config, every field of it with its value and meaning."""
  rest = _normalised([word for word in words if word not in ('--help', '-h', '-help')])
  mode, _, path, _ = _plain_flags(rest)
  if not path:
    return [usage()]
  config, _ = _load_config(rest, path)
  if COMMANDS[mode].takes == 'sweep' or 'runs' in config:
    return [usage(), '', f'{path} is a sweep: --config.common.FIELD=VALUE changes a field of all its runs']
  from mils_jax.run_config import RunConfig  # brings JAX, which the lines above do without

  lines = [f'fields of {path}:', '']
  for name, value, option in RunConfig.read(config).options():
    choices = f' ({", ".join(map(repr, option.choices))})' if option.choices else ''
    lines += [f'  --config.{name}={value!r}', f'      {option.help}{choices}']
  return lines


def parse(argv: list[str]) -> Request:
  """Reads the words of a command line; raises UserError for each way in which they can be wrong."""
  words = _normalised(argv)
  mode, workdir, path, own = _plain_flags(words)
  takes = COMMANDS[mode].takes
  if takes == 'runs':
    if path:
      raise UserError(f'--mode {mode} takes no --config: every run has its own')
    return Request(mode, RunFolder(Path(workdir or mode)), None, None, own, argv)
  if not path and takes == 'sweep':
    raise UserError(f'--mode {mode} needs a --config such as configs/sweeps/specialists.py')
  if not path and not workdir:
    raise UserError('no --config given. Try --config configs/task_a.py, or --help')
  from mils_jax.run_config import RunConfig, as_it_was, saved_config  # brings JAX, which the mistakes above do without

  if not path:
    folder = RunFolder(Path(workdir))
    return Request(mode, folder, saved_config(folder), None, own, argv)
  config, overrides = _load_config(words, path)
  name = run_name(str(config.get('name', '')), path, overrides)
  folder = RunFolder(Path(workdir) if workdir else Path('runs') / name)
  if takes == 'sweep':
    return Request(mode, folder, None, config, own, argv)
  if 'runs' in config:
    raise UserError(f'{path} describes a sweep, not a run: give --mode sweep')
  return Request(mode, folder, as_it_was(RunConfig.read(config), folder), None, own, argv)


def run_name(name: str, path: str, overrides: dict[str, Any]) -> str:
  """A folder name from the configuration's name, its variant and its changed fields (those that change results).

  Args:
    name: of the configuration.
    path: of its file, with ':VARIANT' behind it if there is one.
    overrides: the changed fields, by whole name.
  """
  variant = path.partition(':')[2]
  fields = {key.removeprefix('common.'): value for key, value in overrides.items()}  # of all runs of a sweep
  named = {key.removeprefix('train.'): value for key, value in fields.items() if key.split('.')[0] not in FREE}
  text = '-'.join(part for part in (name, variant, *(f'{key}={value}' for key, value in sorted(named.items()))) if part)
  readable = re.sub(r'[^\w.=,+-]', '_', text)
  if readable == text and len(text) <= 100:
    return text
  return f'{readable[:80]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}'


def _normalised(words: list[str]) -> list[str]:
  """'-mode' is '--mode'."""
  return [re.sub('^-(?=[a-z])', '--', word) for word in words]


def _plain_flags(words: list[str]) -> tuple[str, str, str, dict[str, Any]]:
  """Mode, workdir, config path and the mode's own flags; refuses words that are no flag of it."""
  values = _define_flags(mode='train', workdir='', config='')
  words, more = _without_further_values(words)
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
  if values.mode not in COMMANDS:
    raise unknown('mode', values.mode, COMMANDS)
  taken = COMMANDS[values.mode].flags
  for name in _command_flags():
    if values[name].present and name not in taken:
      raise UserError(f'--{name} is no flag of --mode {values.mode}. Modes that take it: '
                      + ', '.join(mode for mode, command in COMMANDS.items() if name in command.flags))
  own = {name: _value(name, flag, values[name].value if values[name].present else flag.default, more.get(name, []))
         for name, flag in taken.items()}
  return values.mode, local_path(values.workdir, '--workdir'), os.path.expanduser(values.config), own


def _without_further_values(words: list[str]) -> tuple[list[str], dict[str, list[str]]]:
  """The words without what follows the first value of flags that take several, and that by flag."""
  many = {name for name, flag in _command_flags().items() if flag.many}
  kept: list[str] = []
  more: dict[str, list[str]] = {}
  current, awaited = '', False
  for word in words:
    if word.startswith('--'):
      name, equals, _ = word[2:].partition('=')
      current, awaited = (name, not equals) if name in many else ('', False)
    elif current and not awaited:
      more.setdefault(current, []).append(word)
      continue
    else:
      awaited = False
    kept.append(word)
  return kept, more


def _value(name: str, flag: Flag, value: Any, more: list[str]) -> Any:
  """A flag's value as its command takes it."""
  values = [local_path(one, f'--{name}') if flag.path and one else one for one in (value, *more)]
  return [one for one in values if one] if flag.many else values[0]


def _command_flags() -> dict[str, Flag]:
  return {name: flag for command in COMMANDS.values() for name, flag in command.flags.items()}


def _define_flags(**plain: str) -> flags.FlagValues:
  values = flags.FlagValues()
  for name, default in (plain | {name: flag.default for name, flag in _command_flags().items()}).items():
    if isinstance(default, bool):
      flags.DEFINE_bool(name, default, '', flag_values=values)
    else:
      flags.DEFINE_string(name, default, '', flag_values=values)
  return values


def _valid_flags() -> str:
  return ', '.join(['--config', '--config.FIELD', '--mode', '--workdir', *(f'--{name}' for name in _command_flags()),
                    '--help'])


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
  own = values['config'].override_values  # pyright: ignore[reportAttributeAccessIssue]  of ml_collections' own flags
  return values.config, dict(own)


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
