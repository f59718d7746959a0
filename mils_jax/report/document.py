"""The parts of a report, independent of the output format."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Text:
  """A paragraph."""

  text: str


@dataclasses.dataclass(frozen=True)
class Heading:
  """The heading of a part of a section."""

  text: str


@dataclasses.dataclass(frozen=True)
class Points:
  """A list of sentences, one per line."""

  items: list[str]


@dataclasses.dataclass(frozen=True)
class Command:
  """A command and its purpose."""

  text: str
  command: str


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of texts; the first column names the row.

  Attributes:
    caption: what it shows.
    columns, rows: texts; every row is as long as the columns.
    words: columns of words, which are aligned left like the first column; numbers are aligned right.
  """

  caption: str
  columns: list[str]
  rows: list[list[str]]
  words: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Figure:
  """A drawing.

  Attributes:
    name: file name, without suffix.
    svg: the image as SVG.
    caption: what it shows.
    alternative: text for readers who cannot see it.
  """

  name: str
  svg: str
  caption: str
  alternative: str


@dataclasses.dataclass(frozen=True)
class Figures:
  """Figures side by side where there is room."""

  figures: list[Figure]


@dataclasses.dataclass(frozen=True)
class Examples:
  """Small images under a heading.

  Attributes:
    title: what they have in common.
    images: PNG files with their alternative texts.
  """

  title: str
  images: list[tuple[bytes, str]]


Block = Text | Heading | Points | Command | Table | Figures | Examples


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of a report with its own title.

  Attributes:
    title: title above it and in the contents.
    blocks: blocks in order; a section without blocks is left out.
  """

  title: str
  blocks: list[Block]


@dataclasses.dataclass(frozen=True)
class Document:
  """A whole report.

  Attributes:
    title: title of the report.
    lead: one sentence on its subject.
    sections: sections in order; those without blocks are left out.
  """

  title: str
  lead: str
  sections: list[Section]

  def __post_init__(self):
    object.__setattr__(self, 'sections', [section for section in self.sections if section.blocks])
