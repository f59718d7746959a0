"""What one evaluation of one run came to: lines, and the report's figures."""

from mils_jax.commands.evaluate import Evaluation
from mils_jax.files import UNWRITABLE
from mils_jax.report.document import Document, Points, Section
from mils_jax.report.groups import Group, make_groups
from mils_jax.report.load import Run
from mils_jax.report.sections.errors import calibration_section, errors_section
from mils_jax.report.sections.models import models_section
from mils_jax.report.text import channels_text, grouped
from mils_jax.report.write import STATISTICS, write_document


def score_lines(evaluation: Evaluation) -> list[str]:
  """What the model is and every score."""
  results, scores = evaluation.results, evaluation.predictions.scores
  return [
      '', f'{results["name"]}: {results["model"]}, step {results["step"]}, channels {channels_text(results)}',
      f'  {evaluation.split + " accuracy":<15} {scores.accuracy}',
      f'  balanced        {scores.balanced_accuracy:.2%} (mean over the classes of each one\'s accuracy)',
      f'  macro F1        {scores.macro_f1:.2%}; top 5: {scores.top(5).rate:.2%}',
      f'  likelihood      {scores.loss:.3f} nats (negative, logarithm); Brier score {scores.brier:.3f}',
      f'  calibration     {100 * scores.calibration.error:.1f} points (expected error)',
      f'  parameters      {grouped(results["parameters"])}; MACs {grouped(results["macs"])}',
  ]


def write_evaluation(evaluation: Evaluation) -> str:
  """Saves the results with a page beside them; returns the line that says where, or why not."""
  results = evaluation.results
  run = Run(evaluation.run, evaluation.config.values(), results, tuple(results['classes']), evaluation.predictions,
            metrics=[], machine={}, split=evaluation.split)
  (group,), _ = make_groups([run])
  try:
    evaluation.save()
    _, page = write_document(_document(evaluation, group), evaluation.path)
  except OSError as error:
    if error.errno not in UNWRITABLE:
      raise
    return (f'nothing was saved: {evaluation.path} cannot be written ({error.strerror}). The same command with '
            '--output FOLDER saves elsewhere')
  return f'  figures in      {page}'


def _document(evaluation: Evaluation, group: Group) -> Document:
  lead = (f'{evaluation.run.path}, step {evaluation.results["step"]}, on the {len(evaluation.predictions.labels)} '
          f'images of the split {evaluation.split} (data {evaluation.results["data_fingerprint"]}).')
  return Document(f'{group.label} on {evaluation.split}', lead, [
      models_section([group]), calibration_section([group]), errors_section([group]),
      Section('How to read it', [Points(STATISTICS)])])
