"""A finished or stopped run's best checkpoint, tested again."""

from ml_collections import ConfigDict

from mils_jax import build
from mils_jax.data.batches import gather, steps_per_epoch
from mils_jax.errors import UserError
from mils_jax.evaluation.predictions import Evaluator
from mils_jax.progress import say
from mils_jax.studies.restored import restore
from mils_jax.studies.train import summarise
from mils_jax.training.run_folder import RunFolder


def run_evaluation(config: ConfigDict, folder: RunFolder) -> dict:
  """Restores the best checkpoint by validation accuracy and tests it; the results as training gives them.

  Args:
    config: the run's own, or one that differs in where the data lies.
    folder: of the run.

  Raises:
    UserError: the folder is another run's, there is no checkpoint yet, or the data has other classes.
  """
  restored = restore(folder, config)
  plan = build.build_plan(config, folder)
  contract = restored.contract
  if contract.classes != plan.data.classes:
    different = ', '.join(sorted(set(contract.classes) ^ set(plan.data.classes))) or 'the same in another order'
    raise UserError(f'the data has other classes than the model was trained on: {different}')
  say(f'restored step {restored.step}')
  variables = plan.devices.replicate(restored.variables)
  placed = build.placement(config, plan.data, contract.channels)
  evaluator = Evaluator(restored.model, placed, plan.devices, plan.batch_size)
  validation, test = (
      evaluator(variables, plan.data.splits[name], gather(plan.data.splits[name], plan.devices, plan.gather_mode), name)
      for name in ('val', 'test'))
  epoch = restored.step // steps_per_epoch(len(plan.data.splits['train']), plan.batch_size)
  return summarise(config, plan, epoch, validation, test)
