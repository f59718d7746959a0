"""The output of --help: for the program, for one command, or for the fields of a configuration."""

from mils_jax import __version__, invocation
from mils_jax.builtin_configs import OWN, builtin_configs, summary
from mils_jax.command_line import Words, load_config, read_words
from mils_jax.commands import COMMANDS

_HELP = ('--help', '-h', '-help')
_OBJECTS = {'run': 'CONFIG|RUN', 'sweep': 'CONFIG', 'runs': 'RUN ...'}
_FLAGS_USAGE = """Image classifiers for any input channels, and shallow wide ones.

usage: {program} --config FILE[:VARIANT] [--config.FIELD=VALUE ...] [--workdir FOLDER] [--mode MODE]

  --config    a configuration such as configs/task_a.py, configs/task_b.py:mini_imagenet, configs/resnet34.py
  --config.*  any of its fields, such as --config.train.epochs=10; with --help beside --config all are listed
  --workdir   the run folder (default: runs/ and a name made from the configuration and its changed fields)
  --mode      what to do (default: train), each with flags of its own:
"""


def wants_help(argv: list[str]) -> bool:
  return any(word in _HELP for word in argv[1:])


def help_lines(argv: list[str]) -> list[str]:
  """The lines of --help for a command line: on all commands, on one command, or on a configuration's fields."""
  rest = [word for word in argv if word not in _HELP]
  if not rest[1:]:
    return _program_lines() if invocation.with_verbs() else _flag_lines()
  words = read_words(rest)
  if words.config:
    return _config_lines(words)
  return _command_lines(words.command)


def _program_lines() -> list[str]:
  """One line for every command, the built-in configurations, and how to continue."""
  program = invocation.program()
  return [
      f'{invocation.PROGRAM} {__version__}: image classifiers for any input channels, and shallow wide ones', '',
      f'usage: {program} COMMAND ...', '',
      *(f'  {name:<10}  {command.help}' for name, command in COMMANDS.items()), '',
      'built-in configurations, and sweeps:', '',
      *(f'  {name:<12}  {summary(path)}' for sweeps in (False, True)
        for name, path in builtin_configs(sweeps).items()), '',
      f'more: {program} COMMAND --help; {program} train CONFIG --help for the fields of a configuration', '',
      'examples:',
      *(f'  {invocation.command(name, **COMMANDS[name].examples[0])}' for name in ('train', 'predict', 'report')),
  ]


def _flag_lines() -> list[str]:
  """Lists every mode with its flags."""
  lines = [_FLAGS_USAGE.format(program=invocation.program()).rstrip()]
  for name, command in COMMANDS.items():
    lines += ['', f'  {name:<10}  {command.help}', *(f'    {line}' for line in _own_flags(name))]
  return lines


def _command_lines(name: str) -> list[str]:
  """Lists what a command takes, its flags and its examples."""
  command, takes = COMMANDS[name], COMMANDS[name].takes
  usage = []
  if invocation.with_verbs():
    plain = [command.flags[command.plain].value] if command.plain else []
    usage = [' '.join(['usage:', invocation.mode(name), _OBJECTS[takes], *plain, '[--FLAG ...]']), '']
  return [*usage, command.help, '', *(f'  {word:<32}  {text}' for word, text in _words(takes)), *_own_flags(name), '',
          'examples:', *(f'  {invocation.command(name, **example)}' for example in command.examples)]


def _words(takes: str) -> list[tuple[str, str]]:
  """The arguments that a command takes in addition to its own flags."""
  if takes == 'runs':
    return [('RUN ...', 'run folders, folders of them, or patterns'), ('--workdir FOLDER', 'where the page goes')]
  config = (f'{", ".join(builtin_configs(takes == "sweep"))}, or {OWN}; some take a variant, CONFIG:VARIANT')
  run = [('RUN', 'the folder of a run, for its own configuration')] if takes == 'run' else []
  return [('CONFIG', config), *run,
          ('--workdir FOLDER', 'of the run or sweep (default: runs/ and a name made from the configuration)'),
          ('--config.FIELD=VALUE', 'another value of a field; --help beside CONFIG lists them all')]


def _own_flags(name: str) -> list[str]:
  return [f'  {f"--{flag} {declared.value}".rstrip():<32}  {declared.help}'
          for flag, declared in COMMANDS[name].flags.items()]


def _config_lines(words: Words) -> list[str]:
  """Lists every field of a configuration with its value and meaning."""
  config, _ = load_config(words)
  if COMMANDS[words.command].takes == 'sweep' or 'table' in config:
    return [*_command_lines('sweep'), '',
            f'{words.config} is a sweep: --config.common.FIELD=VALUE changes a field of all its runs']
  from mils_jax.run_config import RunConfig  # loads JAX, which the lines above do not need

  lines = [f'fields of {words.config}:', '']
  for name, value, option in RunConfig.read(config).options():
    values = ', '.join(map(repr, option.choices)) or f'{option.kind} {option.interval}'.rstrip()
    lines += [f'  --config.{name}={value!r}', f'      {option.help} ({values}; default {option.default!r})']
  return lines
