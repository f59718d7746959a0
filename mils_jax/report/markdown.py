"""Renders a document as Markdown, with its images as files beside it."""

import re
from pathlib import Path

from mils_jax.report.document import Block, Command, Document, Examples, Figures, Heading, Points, Table, Text
from mils_jax.report.text import table_lines

# Characters that Markdown would interpret by CommonMark's rules, and no more: the text is read on terminals too.
_SPECIAL = re.compile(r'[\\`*|]|(?<!\w)_|_(?!\w)|<(?=[A-Za-z/!?])|~(?=~)|\[(?=[^\]]*\][(\[:])|&(?=#?\w+;)'
                      r'|^[>#]|^[-+](?= )')


def to_markdown(document: Document, images: Path | None = None) -> str:
  """The document as text; writes every image into the folder `images`, to which the text refers relative to its parent.

  A document without figures and examples needs no such folder.
  """
  parts = [f'# {escape(document.title)}', escape(document.lead)]
  for section in document.sections:
    parts.append(f'## {escape(section.title)}')
    for number, block in enumerate(section.blocks):
      parts.append(_block(block, images, f'{section.title}-{number}'))
  return '\n\n'.join(parts) + '\n'


def escape(text: str) -> str:
  """Escapes text so that Markdown shows it as it is, in table cells too."""
  return _SPECIAL.sub(r'\\\g<0>', ' '.join(text.split()))


def _file_name(text: str) -> str:
  """A name that a link may hold."""
  return re.sub(r'\W+', '-', text.lower())[-80:].strip('-')


def _block(block: Block, images: Path | None, name: str) -> str:
  match block:
    case Text(text):
      return escape(text)
    case Heading(text):
      return f'### {escape(text)}'
    case Points(items):
      return '\n'.join(f'- {escape(item)}' for item in items)
    case Command(text, command):
      return f'{escape(text)}\n\n    {command}'
    case Table():
      columns, *rows = [[escape(cell) for cell in row] for row in (block.columns, *block.rows)]
      return '\n'.join([escape(block.caption), '', *table_lines(columns, rows, [*map(escape, block.words)])])
    case Figures(figures):
      assert images is not None  # only a document without images needs no folder
      images.mkdir(parents=True, exist_ok=True)
      parts = []
      for figure in figures:
        file = images / f'{_file_name(figure.name)}.svg'
        file.write_text(figure.svg, encoding='utf-8')
        parts.append(f'![{escape(figure.alternative)}]({images.name}/{file.name})\n\n{escape(figure.caption)}')
      return '\n\n'.join(parts)
    case Examples(title, shown):
      assert images is not None  # only a document without images needs no folder
      images.mkdir(parents=True, exist_ok=True)
      lines = []
      for number, (image, text) in enumerate(shown):
        file = images / f"{_file_name(f'{name}-{title}-{number}')}.png"
        file.write_bytes(image)
        lines.append(f'![{escape(text)}]({images.name}/{file.name})')
      return f'{escape(title)}\n\n' + ' '.join(lines)
