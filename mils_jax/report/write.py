"""Writes the report on the runs that a pattern matches, on a sweep, or on one evaluation, as text and as a page."""

import glob
from collections.abc import Sequence
from pathlib import Path

from mils_jax.data.sources.source import ALL
from mils_jax.errors import UserError
from mils_jax.files import UNWRITABLE
from mils_jax.metrics.alignment import fingerprint
from mils_jax.metrics.predictions import Predictions
from mils_jax.models.flops import CONVENTIONS
from mils_jax.progress import counted
from mils_jax.report.document import Block, Document, Figures, Points, Section, Text
from mils_jax.report.groups import Group, make_groups
from mils_jax.report.html import to_html
from mils_jax.report.markdown import to_markdown
from mils_jax.report.read_runs import NotReported, Run, collect
from mils_jax.report.sections.ablation import ablation_section
from mils_jax.report.sections.channel_importance import importance_section
from mils_jax.report.sections.claims import claims_section
from mils_jax.report.sections.confusion import errors_section
from mils_jax.report.sections.curves import training_section
from mils_jax.report.sections.kernel_attention import attention_section
from mils_jax.report.sections.model_table import models_section
from mils_jax.report.sections.reliability import calibration_section
from mils_jax.report.sections.run_list import runs_section
from mils_jax.report.sections.subset_table import channels_section
from mils_jax.sweeps.sweep import read_record
from mils_jax.training.run_folder import RunFolder

SECTIONS = (claims_section, models_section, channels_section, ablation_section, importance_section, attention_section,
            training_section, calibration_section, errors_section)  # in reading order
TABLES = {'models': models_section, 'specialists': channels_section, 'ablation': ablation_section}  # of a sweep
HOW_TO_READ = Section('How to read it', [Points([
    'An interval in brackets is a 95% interval in percent or points, for the choice of test images: Wilson\'s of '
    'one accuracy, Newcombe\'s (method 10) or Bonett and Price\'s of a paired difference, and of a share the Wald '
    'interval of the ratio of paired proportions on a logarithmic scale.',
    'The spread over seeds is a sample standard deviation with Student\'s t interval of the mean, on the same test '
    'images. An accuracy of several seeds is their mean, with Wilson\'s interval of one run of that accuracy. '
    'Neither interval contains the other\'s uncertainty.',
    'p is that of the exact McNemar test for single runs; p by Holm is adjusted for the number of comparisons in its '
    'table.',
    CONVENTIONS,
])])


def write_report(patterns: Sequence[str], folder: Path) -> list[str]:
  """Writes the report on the runs that patterns match into a folder, and returns the lines to print.

  Raises:
    UserError: no run matches, they differ in their task, a finished one has no predictions, or the folder cannot be
      written.
  """
  groups, others = _read(*patterns)
  document = make_document(groups, others)
  sentences = [item for section in document.sections for block in section.blocks if isinstance(block, Points)
               and section is not HOW_TO_READ for item in block.items]
  return [*_counts(groups, others), *sentences, *_written(document, folder)]


def write_sweep(path: Path) -> list[str]:
  """Writes the report on a sweep's finished runs, and its table to sweep.md; returns that text and the paths of both.

  Raises:
    UserError: as `write_report`.
  """
  record = read_record(path)
  assert record is not None  # this is a sweep's folder
  groups, others = _read(glob.escape(str(path)))
  document = make_document(groups, others)
  table = TABLES[record.table](groups)
  section = Section(table.title, [block for block in table.blocks if not isinstance(block, Figures)])
  done = {run.folder.path.name for group in groups for run in group.runs}
  missing = [run for run in record.runs if run not in done]
  note: list[Block] = [Text(f'Not finished: {", ".join(missing)}.')] if missing else []
  text = to_markdown(Document(f'Sweep {record.name}', document.lead, [section, Section('Not reported', note)]))
  target = path / 'sweep.md'
  target.write_text(text, encoding='utf-8')
  return [*text.splitlines(), '', *_counts(groups, others), *_written(document, path / 'report'),
          f'the table: {target}']


def write_evaluation(run: RunFolder, config: dict, results: dict, split: str, predictions: Predictions,
                     folder: Path) -> Path:
  """Writes the page on one evaluation of one run into a folder; raises OSError where it cannot.

  Args:
    run: the run folder.
    config: its configuration, with the data that it was evaluated on.
    results: results as in results.json, and the step of the checkpoint.
    split: name of the split, or all.
    predictions: predictions of all examples of the split.
    folder: folder for report.md, its figures and report.html, whose path is returned.
  """
  (group,), _ = make_groups([Run(run, config, results, tuple(results['classes']), predictions, metrics=[], machine={},
                                 split=split)])
  lead = (f'{run.path}, step {results["step"]}, on the {len(predictions.labels)} images of '
          f'{"all splits" if split == ALL else f"the split {split}"} (data {results["data_fingerprint"]}).')
  return write_document(Document(f'{group.label} on {split}', lead, [
      models_section([group]), calibration_section([group]), errors_section([group]), HOW_TO_READ]), folder)[1]


def make_document(groups: list[Group], others: list[NotReported]) -> Document:
  """The full report on the groups."""
  test = groups[0].runs[0].test
  runs = counted(sum(len(group.runs) for group in groups), 'finished run')
  lead = (f'{runs} of {counted(len(groups), "configuration")}, tested on the same {len(test.labels)} images of '
          f'{len(groups[0].classes)} classes (fingerprint {fingerprint(test)}).')
  return Document('Results', lead, [*(section(groups) for section in SECTIONS), runs_section(groups, others),
                                    HOW_TO_READ])


def write_document(document: Document, folder: Path) -> tuple[Path, Path]:
  """Writes report.md with its folder figures/, and report.html; raises OSError where it cannot."""
  folder.mkdir(parents=True, exist_ok=True)
  text, page = folder / 'report.md', folder / 'report.html'
  text.write_text(to_markdown(document, folder / 'figures'), encoding='utf-8', errors='backslashreplace')
  page.write_text(to_html(document), encoding='utf-8', errors='backslashreplace')
  return text, page


def _read(*patterns: str) -> tuple[list[Group], list[NotReported]]:
  runs, others = collect(*patterns)
  groups, copies = make_groups(runs)
  return groups, [*others, *copies]


def _counts(groups: list[Group], others: list[NotReported]) -> list[str]:
  runs = counted(sum(len(group.runs) for group in groups), 'finished run')
  return [f'{runs}, {len(others)} not reported', *(f'  {other.name}: {other.reason}' for other in others)]


def _written(document: Document, folder: Path) -> list[str]:
  try:
    text, page = write_document(document, folder)
  except OSError as error:
    if error.errno not in UNWRITABLE:
      raise
    raise UserError(f'the report cannot be written to {folder}: {error.strerror}. Give another --workdir') from error
  return [f'read it: {page}', f'as text: {text}']
