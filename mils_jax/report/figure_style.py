"""The style of all figures: colours that are safe for colour blindness, and SVG that follows light or dark mode."""

import io
import re
import textwrap
import warnings
from itertools import cycle
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.image import AxesImage
from matplotlib.text import Text

# Okabe and Ito, "Color Universal Design" (2008, https://jfly.uni-koeln.de/color/), without their yellow and black,
# which are lost on white or on dark.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*')
MAP = 'cividis'  # colour map for values; its lightness alone distinguishes them
WIDTH = 4.6  # inches; narrow, so that text is readable on a phone
LETTERS = 52  # number of letters that fit in the width
INK, LINE = '#010203', '#040506'  # placeholders for the page's colours until the SVG is written
_VARIABLES = {INK: 'ink', LINE: 'line', COLOURS[0]: 'blue'}  # colours that differ between light and dark mode
_OPTIONS: dict[Any, Any] = {  # matplotlib types these keys as literals
    'svg.fonttype': 'none', 'svg.hashsalt': 'mils_jax', 'font.size': 10, 'axes.titlesize': 10.5, 'axes.labelsize': 10,
    'legend.fontsize': 9, 'xtick.labelsize': 9, 'ytick.labelsize': 9, 'figure.facecolor': 'none',
    'axes.facecolor': 'none', 'savefig.facecolor': 'none', 'text.color': INK, 'axes.labelcolor': INK,
    'xtick.color': INK, 'ytick.color': INK, 'axes.edgecolor': INK, 'grid.color': LINE, 'grid.linewidth': 0.6,
    'axes.grid': True, 'axes.axisbelow': True, 'axes.spines.top': False, 'axes.spines.right': False,
    'legend.frameon': False, 'lines.linewidth': 1.6, 'lines.markersize': 5.5, 'figure.constrained_layout.use': True,
    'text.parse_math': False,  # a class may have dollar signs in its name
}
_THEME = ('<style>svg{--ink:#1f2328;--line:#d1d9e0;--blue:#0072b2}@media screen and (prefers-color-scheme:dark)'
          '{svg{--ink:#e6edf3;--line:#39424e;--blue:#3b96e0}}</style>')


def drawing(height: float = 3.4, columns: int = 1, rows: int = 1, **options) -> tuple[Drawing, list[Axes]]:
  """Creates a drawing of the common width, `height` inches high, and its axes row by row."""
  with matplotlib.rc_context(_OPTIONS):
    figure = Drawing(figsize=(WIDTH, height))
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).flat)


def looks(count: int) -> list[tuple[str, str]]:
  """`count` pairs of a colour and a marker, which are distinct for up to 24."""
  colours, markers = cycle(COLOURS), cycle(MARKERS)
  return [(next(colours), next(markers)) for _ in range(count)]


def legend_below(figure: Drawing, axes: Axes, columns: int = 2) -> None:
  """Puts the axes' legend below the drawing, where it hides no data; a single entry becomes the title instead."""
  handles, labels = axes.get_legend_handles_labels()
  if len(labels) == 1:
    axes.set_title(labels[0])
  elif labels:
    widest = max(map(len, labels))
    labels = [textwrap.fill(label, LETTERS) for label in labels]
    with matplotlib.rc_context(_OPTIONS):
      figure.legend(handles, labels, loc='outside lower center', ncols=1 if widest > 32 else columns)


def colour_bar(figure: Drawing, image: AxesImage, axes: Axes | list[Axes], label: str) -> None:
  """Adds a colour bar beside an image."""
  with matplotlib.rc_context(_OPTIONS):
    figure.colorbar(image, ax=axes, label=label, shrink=0.8).outline.set_visible(False)


def to_svg(figure: Drawing) -> str:
  """The drawing as SVG; equal drawings give equal bytes."""
  file = io.StringIO()
  for text in figure.findobj(Text):
    text.set_parse_math(False)  # for texts that were created outside of `drawing`
  with matplotlib.rc_context(_OPTIONS), warnings.catch_warnings():
    warnings.filterwarnings('ignore', 'Glyph .* missing')  # the reader's own fonts are used
    figure.savefig(file, format='svg', metadata={'Date': None, 'Creator': None})
  svg = file.getvalue()
  svg = svg[svg.index('<svg'):]
  for colour, name in _VARIABLES.items():
    svg = svg.replace(colour, f'var(--{name})')
  svg = re.sub(r"(font(?:-family)?:[^;\"]*?)'DejaVu Sans'[^;\"]*", r'\1system-ui, sans-serif', svg)
  svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
  end = svg.index('>') + 1
  return svg[:end] + _THEME + svg[end:]
