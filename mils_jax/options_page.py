"""docs/options.md: every option of every section, as it is declared."""

import itertools

from mils_jax.config import Option
from mils_jax.data.sources.registry import sources
from mils_jax.data.sources.registry import title_of as source_title
from mils_jax.models import networks, title_of
from mils_jax.report.markdown import escape
from mils_jax.run_config import RunConfig

REWRITE = 'MILS_WRITE_DOCS=1 python -m pytest tests/test_docs.py -k options'
HEAD = f"""# Options

This page is generated from the declarations in the code, by `{REWRITE}`.

`--config.FIELD=VALUE` sets a field, such as `--config.train.epochs=20`; several values go in quoted brackets,
`--config.model.strides='(1, 2, 2, 2)'`. The defaults here are the code's: a configuration sets some of its own, and
`mils-jax train CONFIG --help` lists those.
"""


def options_page() -> str:
  """The page's text; options that a source or a network has alone are in tables of their own."""
  by_network = {network: {name: option for name, _, option in RunConfig.read({'model': {'name': network}}).options()}
                for network in networks()}
  first, *others = by_network.values()
  common = {name: option for name, option in first.items() if all(other.get(name) == option for other in others)}
  titles = {f'data.{source}': f'data.{source}: {source_title(source)}' for source in sources()}
  lines = [HEAD]
  for section, names in itertools.groupby(common, key=lambda name: name.rpartition('.')[0]):
    lines += _table(titles.get(section, section), {name: common[name] for name in names})
    if section == 'model':
      for network, options in by_network.items():
        lines += _table(f'model.name={network}: {title_of(network)}',
                        {name: option for name, option in options.items() if name not in common})
  return '\n'.join(lines)


def _table(title: str, options: dict[str, Option]) -> list[str]:
  lines = [f'## {title}', '', '| field | type | default | range or choices | meaning |', '|---' * 5 + '|']
  for name, option in options.items():
    values = [choice or "''" for choice in option.choices] or [option.interval]
    cells = [_code(name), option.kind, _code(repr(option.default)), ', '.join(map(_code, values)), escape(option.help)]
    lines.append(f'| {" | ".join(cells)} |')
  return [*lines, '']


def _code(text: str) -> str:
  return f'`{text}`'.replace('|', r'\|') if text else ''
