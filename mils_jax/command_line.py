"""Parses the command line: the command, its flags, the changed configuration, the folder.

    mils-jax predict runs/task_a photos                                 a verb and positional arguments
    python main.py --mode predict --workdir runs/task_a --input photos  or flags alone
"""

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from mils_jax import invocation
from mils_jax.builtin_configs import OWN, builtin_configs, find_config
from mils_jax.commands import COMMANDS, Flag, Request
from mils_jax.errors import UserError, unknown
from mils_jax.files import as_name, local_path, shortened
from mils_jax.schema import FREE
from mils_jax.training.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Words:
  """A command line, taken apart.

  Attributes:
    command: name of the command.
    config: name or path of a configuration, followed by ':VARIANT' if there is one; '' for none.
    workdir: the folder; '' for none.
    flags: the command's own flags.
    fields: the words that change the configuration.
  """

  command: str
  config: str
  workdir: str
  flags: dict[str, Any]
  fields: list[str]


def parse(argv: list[str]) -> Request:
  """Parses a command line; raises UserError where it is wrong."""
  words = read_words(argv)
  mode, takes = words.command, COMMANDS[words.command].takes
  if takes == 'runs':
    if words.config:
      raise UserError(f'{invocation.mode(mode)} takes no --config: every run has its own')
    return Request(mode, RunFolder(Path(words.workdir or mode)), None, None, words.flags, argv)
  if not words.config and (takes == 'sweep' or not words.workdir):
    raise _nothing_to_work_on(mode, argv)
  if not words.config:
    folder = RunFolder(Path(words.workdir))
    if folder.is_export and COMMANDS[mode].exports:
      if words.fields:
        raise UserError(f'{words.fields[0]}: an export takes no --config.FIELD')
      return Request(mode, folder, None, None, words.flags, argv)
    folder.read_config()  # a mistake is reported before JAX is loaded
    from mils_jax.run_config import RunConfig, saved_config

    config = saved_config(folder)
    if words.fields:
      config = RunConfig.read(changed(ConfigDict(config.values()), words.fields)[0])
    return Request(mode, folder, config, None, words.flags, argv)
  config, overrides = load_config(words)
  from mils_jax.run_config import RunConfig, as_it_was  # the configuration has already loaded it, and JAX with it

  if takes == 'sweep':
    return Request(mode, _folder(words, str(config.get('name', '')), overrides), None, config, words.flags, argv)
  if 'table' in config:
    raise UserError(f'{words.config} describes a sweep, not a run: give {invocation.mode("sweep")}')
  run = RunConfig.read(config)
  folder = _folder(words, run.name, overrides)
  return Request(mode, folder, as_it_was(run, folder), None, words.flags, argv)


def _folder(words: Words, name: str, overrides: dict[str, Any]) -> RunFolder:
  """The folder that the command line names, else the one that is named after the configuration and its changes."""
  return RunFolder(Path(words.workdir) if words.workdir else Path('runs') / run_name(name, words.config, overrides))


def _nothing_to_work_on(mode: str, argv: list[str]) -> UserError:
  takes = COMMANDS[mode].takes
  if not argv[1:] and invocation.with_verbs():
    return UserError(f'no command given. Try {invocation.command("train", config="task_a")}, or --help')
  if invocation.with_verbs():
    names = ', '.join(builtin_configs(sweeps=takes == 'sweep'))
    return UserError(f'{invocation.mode(mode)} needs a configuration{" or a run folder" if takes == "run" else ""}, '
                     f'such as {invocation.command(mode, **COMMANDS[mode].examples[0])}. Built in: {names}')
  if takes == 'sweep':
    return UserError(f'{invocation.mode(mode)} needs a --config such as configs/sweeps/specialists.py')
  return UserError('no --config given. Try --config configs/task_a.py, or --help')


def run_name(name: str, path: str, overrides: dict[str, Any]) -> str:
  """Makes a folder name from the configuration's name, its variant and those changed fields that affect results.

  Args:
    name: name of the configuration.
    path: path of its file, followed by ':VARIANT' if there is one.
    overrides: the changed fields, by full name.

  Raises:
    UserError: the configuration has no name that a folder can have.
  """
  if name in ('', '.', '..'):
    raise UserError(f"name='{name}' in {path}: expected a name for its folder")
  variant = path.partition(':')[2]
  fields = {key.removeprefix('common.'): value for key, value in overrides.items()}  # those of all runs of a sweep
  named = {key.removeprefix('train.'): value for key, value in fields.items() if key.split('.')[0] not in FREE}
  text = '-'.join(part for part in (name, variant, *(f'{key}={value}' for key, value in sorted(named.items()))) if part)
  return shortened(text, always=as_name(text) != text)


def read_words(argv: list[str]) -> Words:
  """Splits a command line; raises UserError for an unknown command, flag or configuration, and too many words."""
  verb = argv[1] if invocation.has_verb(argv) else ''
  if verb and verb not in COMMANDS:
    raise unknown('command', verb, COMMANDS)
  own, fields = _without_fields([re.sub('^-(?=[a-z])', '--', word) for word in argv[2 if verb else 1:]])
  values, plain = _parsed_flags(own, verb)
  if verb and values['mode'].present:
    raise UserError(f'--mode={values.mode} stands beside the command {verb}: give one of them')
  mode = verb or values.mode
  if mode not in COMMANDS:
    raise unknown('mode', mode, COMMANDS)
  given = {'config': values.config, 'workdir': values.workdir, **_own_flags(values, mode)}
  _place(plain, mode, given, bool(verb))
  if fields and COMMANDS[mode].takes == 'runs':
    raise UserError(f'{invocation.mode(mode)} takes no --config.FIELD: every run has its own')
  if fields and not given['config'] and (not given['workdir'] or COMMANDS[mode].takes != 'run'):
    raise UserError('--config.FIELD needs --config FILE or --workdir RUN beside it' if not verb else
                    f'--config.FIELD needs a configuration: {invocation.command(verb, config="CONFIG", workdir="RUN")}')
  config, workdir = os.path.expanduser(given.pop('config')), local_path(given.pop('workdir'), '--workdir')
  return Words(mode, config, workdir, {name: _as_path(name, value, mode) for name, value in given.items()}, fields)


def _as_path(name: str, value: Any, mode: str) -> Any:
  """A flag's value, with '~' in paths expanded."""
  if not COMMANDS[mode].flags[name].path:
    return value
  if isinstance(value, str):
    return local_path(value, f'--{name}')
  return type(value)(local_path(one, f'--{name}') for one in value)


def _without_fields(words: list[str]) -> tuple[list[str], list[str]]:
  """The words that do not change the configuration, and those that do."""
  plain, fields, skip = [], [], False
  for word in words:
    if re.match('--(no)?config[.]', word):
      skip = '=' not in word  # '--config.key value' takes the next word too
      fields.append(word)
    elif skip and not word.startswith('--'):
      skip = False
      fields.append(word)
    else:
      skip = False
      plain.append(word)
  return plain, fields


def _parsed_flags(words: list[str], verb: str) -> tuple[flags.FlagValues, list[str]]:
  """The flags and, after a verb, the positional arguments."""
  values = flags.FlagValues()
  values.set_gnu_getopt()  # flags may follow plain words
  for name, default in {'mode': 'train', 'config': '', 'workdir': ''}.items():
    flags.DEFINE_string(name, default, '', flag_values=values)
  for name, flag in _command_flags().items():
    if isinstance(flag.default, bool):
      flags.DEFINE_bool(name, flag.default, '', flag_values=values)
    else:
      flags.DEFINE_string(name, flag.default, '', flag_values=values)
  own = COMMANDS[verb].flags if verb else ('mode', *_command_flags())
  valid = [f'--{name}' for name in ('config', 'config.FIELD', 'workdir', *own, 'help')]
  try:
    plain = values([invocation.PROGRAM, *words])[1:]
  except flags.UnrecognizedFlagError as error:
    raise unknown('flag', f'--{error.flagname}', valid) from error
  except flags.Error as error:
    raise UserError(str(error).splitlines()[0]) from error
  many = _takes_many(verb or values.mode)
  if many and values[many].present > 1:  # of other flags the last counts
    raise UserError(f'--{many} is given {values[many].present} times; expected once, with all its words after it')
  if plain and not verb and not (many and values[many].present):
    raise UserError(f"'{plain[0]}' is no flag. Valid flags: {', '.join(valid)}")
  return values, plain


def _takes_many(mode: str) -> str:
  """The flag of a command that takes several positional arguments, such as an expanded shell pattern; '' for none."""
  name = COMMANDS[mode].plain if mode in COMMANDS else ''
  return name if name and COMMANDS[mode].flags[name].many else ''


def _command_flags() -> dict[str, Flag]:
  return {name: flag for command in COMMANDS.values() for name, flag in command.flags.items()}


def _own_flags(values: flags.FlagValues, mode: str) -> dict[str, Any]:
  """The values of a command's flags; raises UserError where a flag of another command is given."""
  own = COMMANDS[mode].flags
  for name in _command_flags():
    if values[name].present and name not in own:
      others = ', '.join(other for other in COMMANDS if name in COMMANDS[other].flags)
      raise UserError(f'--{name} is no flag of {invocation.mode(mode)}. What takes it: {others}')
  found = {name: values[name].value if values[name].present else flag.default for name, flag in own.items()}
  return {name: [value for value in [found[name]] if value] if flag.many else found[name]
          for name, flag in own.items()}


def _place(plain: list[str], mode: str, given: dict[str, Any], verb: bool) -> None:
  """Assigns positional arguments to their flags: what the command works on, and its `plain` flag."""
  command = COMMANDS[mode]
  if command.takes == 'runs':  # a shell expands a pattern into many words
    if plain and given['runs'] != command.flags['runs'].default:
      raise UserError(f"'{plain[0]}' stands beside --runs={given['runs']}: give one of them")
    given['runs'] = tuple(plain) or (given['runs'],)
    return
  many = _takes_many(mode)
  if many and not verb:
    given[many] += plain
    return
  names = [_object(plain[0], command.takes), *filter(None, [command.plain])] if plain else []
  if len(plain) > len(names) and not many:
    raise UserError(f"'{plain[len(names)]}' is a word too many. {invocation.mode(mode)} --help shows what it takes")
  for name, word in zip(names, plain, strict=False):
    if given[name]:
      value = ' '.join(given[name]) if name == many else given[name]
      raise UserError(f"'{word}' stands beside --{name}={value}: give one of them")
    given[name] = plain[names.index(name):] if name == many else word


def _object(word: str, takes: str) -> str:
  """The flag of the first positional argument: config, or workdir where it is a folder."""
  name = word.partition(':')[0]
  if name in builtin_configs() or name.endswith('.py'):
    return 'config'
  if takes == 'run' and Path(word).is_dir():
    return 'workdir'
  if takes == 'sweep':
    raise unknown('configuration', word, [*builtin_configs(sweeps=True), OWN])
  runs = (str(path.parent) for path in Path(word).parent.glob('*/config.json'))
  raise unknown('configuration or run folder', word, [*builtin_configs(sweeps=False), OWN, 'a run folder'], runs)


def load_config(words: Words) -> tuple[ConfigDict, dict]:
  """The configuration with the command line's changes, and these changes by field."""
  name, colon, variant = words.config.partition(':')
  path = f'{find_config(name, COMMANDS[words.command].takes == "sweep")}{colon}{variant}'
  values, argv = flags.FlagValues(), [invocation.PROGRAM, f'--config={path}']
  config_flags.DEFINE_config_file('config', flag_values=values, sys_argv=argv)
  try:
    values(argv)
    config = ConfigDict(values.config)
  except UserError:
    raise
  except Exception as error:  # the file is Python of the user's own
    reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]  # of a traceback, where get_config failed
    raise UserError(f'the config file cannot be used: {reason}. Expected Python with get_config(), or '
                    'get_config(variant) where a variant follows the colon') from error
  return changed(config, words.fields) if words.fields else (config, {})


def changed(config: ConfigDict, fields: list[str]) -> tuple[ConfigDict, dict]:
  """A configuration with the command line's changes, and these by field; raises UserError for one that cannot be."""
  _check_fields(fields, config)
  values, words = flags.FlagValues(), [invocation.PROGRAM, *fields]
  try:
    config_flags.DEFINE_config_dict('config', config, flag_values=values, sys_argv=words)
    left = values(words)[1:]
  except flags.Error as error:
    raise UserError(str(error).strip().splitlines()[0]) from error
  if left:  # as a switch takes no word after it
    field = fields[len(fields) - len(left) - 1]  # the parser stops at the first such word
    name = re.sub('^--no', '--', field)
    raise UserError(f"'{left[0]}' stands after {field}, which is a switch; expected {name}=true or {name}=false")
  own = values['config'].override_values  # pyright: ignore[reportAttributeAccessIssue]  of ml_collections' own flags
  return values.config, dict(own)


def _check_fields(words: list[str], config: ConfigDict) -> None:
  """Raises UserError for an override of a field that the configuration does not have."""
  for word in words:
    if not re.match('--(no)?config[.]', word):
      continue
    section, known = config, ''
    for part in re.sub('--(no)?config[.]', '', word, count=1).partition('=')[0].split('.'):
      if not isinstance(section, ConfigDict) or part not in section:
        choices = section.keys() if isinstance(section, ConfigDict) else ()
        raise unknown('config field', known + part, [known + key for key in choices])
      section, known = section[part], f'{known}{part}.'
