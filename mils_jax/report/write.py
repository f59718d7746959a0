"""The report on a set of finished runs: report.md, its figures, and report.html, which needs nothing beside it."""

import dataclasses
from pathlib import Path

from mils_jax.errors import UserError
from mils_jax.files import UNWRITABLE
from mils_jax.metrics.alignment import fingerprint
from mils_jax.models.flops import CONVENTIONS
from mils_jax.report.document import Document, Figures, Points, Section
from mils_jax.report.figures.curves import CURVES, training_curves
from mils_jax.report.groups import Group, in_figures, make_groups
from mils_jax.report.html import to_html
from mils_jax.report.load import NotReported, collect
from mils_jax.report.markdown import to_markdown
from mils_jax.report.sections.channels import channels_section
from mils_jax.report.sections.claims import claims_section
from mils_jax.report.sections.errors import calibration_section, errors_section
from mils_jax.report.sections.models import models_section
from mils_jax.report.sections.runs import runs_section

STATISTICS = [
    'An interval in brackets is a 95% interval in percent or points, for the choice of test images: Wilson\'s of '
    'one accuracy, Newcombe\'s (method 10) or Bonett and Price\'s of a paired difference, and of a share the Wald '
    'interval of the ratio of paired proportions on the scale of logarithms.',
    'The spread over seeds is a sample standard deviation with Student\'s t interval of the mean, on the same test '
    'images. An accuracy of several seeds is their mean, with Wilson\'s interval of one run of that accuracy. '
    'Neither interval contains the other\'s uncertainty.',
    'p is that of the exact McNemar test for single runs; p by Holm counts how many comparisons the table makes.',
    CONVENTIONS,
]


def write_report(pattern: str, folder: Path) -> list[str]:
  """Writes the report on the runs that a pattern matches into a folder, and returns the lines to print.

  Raises:
    UserError: no run matches, they are not of one task, a finished one has no predictions, or the folder cannot be
      written.
  """
  runs, others = collect(pattern)
  groups, copies = make_groups(runs)
  document = make_document(groups, [*others, *copies])
  try:
    paths = write_document(document, folder)
  except OSError as error:
    if error.errno not in UNWRITABLE:
      raise
    raise UserError(f'the report cannot be written to {folder}: {error.strerror}. Give another --workdir') from error
  lines = [f'{len(runs)} finished runs, {len(others) + len(copies)} not reported']
  lines += [f'  {other.name}: {other.reason}' for other in [*others, *copies]]
  lines += [item for section in document.sections for block in section.blocks if isinstance(block, Points)
            and section.title != 'How to read it' for item in block.items]
  return [*lines, f'read it: {paths[1]}', f'as text: {paths[0]}']


def make_document(groups: list[Group], others: list[NotReported]) -> Document:
  """Everything that is known of the groups, in the order in which a reader wants it."""
  test = groups[0].runs[0].test
  number = sum(len(group.runs) for group in groups)
  lead = (f'{number} finished {"run" if number == 1 else "runs"} of {len(groups)} '
          f'{"configuration" if len(groups) == 1 else "configurations"}, tested on the same {len(test.labels)} '
          f'images of {len(groups[0].classes)} classes (fingerprint {fingerprint(test)}).')
  return Document('Results', lead, [
      claims_section(groups),
      models_section(groups),
      channels_section(groups),
      _training_section(groups),
      calibration_section(groups),
      errors_section(groups),
      runs_section(groups, others),
      Section('How to read it', [Points(STATISTICS)]),
  ])


def _training_section(groups: list[Group]) -> Section:
  trained = [dataclasses.replace(group, runs=runs) for group in groups
             if (runs := tuple(run for run in group.runs if run.metrics))]  # a compressed run has none
  if not trained:
    return Section('Training', [])
  return Section('Training', [Figures([training_curves(part, kind, str(number))
                                       for number, part in enumerate(in_figures(trained)) for kind in CURVES])])


def write_document(document: Document, folder: Path) -> tuple[Path, Path]:
  """Writes report.md with its folder figures/, and report.html; raises OSError where it cannot."""
  folder.mkdir(parents=True, exist_ok=True)
  text, page = folder / 'report.md', folder / 'report.html'
  text.write_text(to_markdown(document, folder / 'figures'), encoding='utf-8')
  page.write_text(to_html(document), encoding='utf-8')
  return text, page
