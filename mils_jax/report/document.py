"""What a report is made of, whatever it is written as."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Text:
  """A paragraph."""

  text: str


@dataclasses.dataclass(frozen=True)
class Heading:
  """Begins a part of a section."""

  text: str


@dataclasses.dataclass(frozen=True)
class Points:
  """Sentences, one to a line."""

  items: list[str]


@dataclasses.dataclass(frozen=True)
class Command:
  """What to type, with what it is for."""

  text: str
  command: str


@dataclasses.dataclass(frozen=True)
class Table:
  """Rows of text below their titles; the first column names the row.

  Attributes:
    caption: what to see in it.
    columns, rows: of text; every row as long as the columns.
    words: those of the columns that hold words, which begin at the left as a name does; numbers end at the right.
  """

  caption: str
  columns: list[str]
  rows: list[list[str]]
  words: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Figure:
  """A drawing.

  Attributes:
    name: of its file, without ending.
    svg: the image.
    caption: what to see in it.
    alternative: what it shows, for those who cannot see it.
  """

  name: str
  svg: str
  caption: str
  alternative: str


@dataclasses.dataclass(frozen=True)
class Figures:
  """Drawings side by side where there is room."""

  figures: list[Figure]


@dataclasses.dataclass(frozen=True)
class Examples:
  """Small images under a heading.

  Attributes:
    title: what they have in common.
    images: PNG files and the alternative text of each.
  """

  title: str
  images: list[tuple[bytes, str]]


Block = Text | Heading | Points | Command | Table | Figures | Examples


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of a report with a title of its own.

  Attributes:
    title: shown above it and in the contents.
    blocks: in order; a section without any is left out.
  """

  title: str
  blocks: list[Block]


@dataclasses.dataclass(frozen=True)
class Document:
  """A whole report.

  Attributes:
    title: of it.
    lead: one sentence on what it is about.
    sections: in order; those without blocks are left out.
  """

  title: str
  lead: str
  sections: list[Section]

  def __post_init__(self):
    object.__setattr__(self, 'sections', [section for section in self.sections if section.blocks])
