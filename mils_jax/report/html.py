"""Renders a document as one self-contained page: no network, no script, for light and dark mode, paper and phones."""

import base64
import re
from html import escape
from pathlib import Path

from mils_jax.report.document import Block, Command, Document, Examples, Figure, Figures, Heading, Points, Table, Text

STYLE = Path(__file__).with_name('page.css')


def to_html(document: Document) -> str:
  """The page, with every image and the style embedded."""
  marks = [_mark(section.title) for section in document.sections]
  links = ''.join(f'<li><a href="#{mark}">{escape(section.title)}</a></li>'
                  for mark, section in zip(marks, document.sections, strict=True))
  sections = ''.join(f'<section id="{mark}"><h2>{escape(section.title)}</h2>\n'
                     + '\n'.join(map(_block, section.blocks)) + '</section>\n'
                     for mark, section in zip(marks, document.sections, strict=True))
  return (f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
          f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
          f'<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
          f'<title>{escape(document.title)}</title>\n'
          f'<style>\n{STYLE.read_text(encoding="utf-8")}</style>\n</head>\n<body>\n<header><h1>{escape(document.title)}'
          f'</h1><p>{escape(document.lead)}</p></header>\n<nav aria-label="Contents"><ul>{links}</ul></nav>\n'
          f'<main>\n{sections}</main>\n</body>\n</html>\n')


def _mark(title: str) -> str:
  return re.sub(r'\W+', '-', title.lower()).strip('-')


def _block(block: Block) -> str:
  match block:
    case Text(text):
      return f'<p>{escape(text)}</p>'
    case Heading(text):
      return f'<h3>{escape(text)}</h3>'
    case Points(items):
      return '<ul class="points">' + ''.join(f'<li>{escape(item)}</li>' for item in items) + '</ul>'
    case Command(text, command):
      words = ' '.join(f'<span>{escape(word)}</span>' for word in command.split(' '))
      return f'<p class="of-command">{escape(text)}</p><pre><code>{words}</code></pre>'
    case Table():
      return _table(block)
    case Figures(figures):
      return '<div class="figures">' + ''.join(map(_figure, figures)) + '</div>'
    case Examples(title, shown):
      images = ''.join(f'<img src="data:image/png;base64,{base64.b64encode(image).decode()}" alt="{escape(text)}">'
                       for image, text in shown)
      return f'<div class="examples"><p>{escape(title)}</p><div>{images}</div></div>'


def _table(table: Table) -> str:
  words = dict.fromkeys(table.words, ' class="words"')
  head = ''.join(f'<th scope="col"{words.get(column, "")}>{escape(column)}</th>' for column in table.columns)
  rows = ''
  for first, *others in table.rows:
    cells = ''.join(f'<td data-column="{escape(column)}"{words.get(column, "")}>{escape(cell)}</td>'
                    for column, cell in zip(table.columns[1:], others, strict=True))
    rows += f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>\n'
  return (f'<table><caption>{escape(table.caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
          f'<tbody>\n{rows}</tbody></table>')


def _figure(figure: Figure) -> str:
  data = base64.b64encode(figure.svg.encode()).decode()
  return (f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{escape(figure.alternative)}">'
          f'<figcaption>{escape(figure.caption)}</figcaption></figure>')
