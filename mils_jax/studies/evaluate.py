"""A finished or stopped run's best checkpoint, tested again."""

from ml_collections import ConfigDict

from mils_jax import build
from mils_jax.data.batches import gather, steps_per_epoch
from mils_jax.errors import UserError
from mils_jax.evaluation.predictions import Evaluator
from mils_jax.progress import say
from mils_jax.studies.train import summarise
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.run_folder import RunFolder
from mils_jax.training.state import create_state


def run_evaluation(config: ConfigDict, folder: RunFolder) -> dict:
  """Restores the best checkpoint by validation accuracy and tests it; the results as training gives them.

  Args:
    config: the run's own, or one that differs in where the data lies.
    folder: of the run.

  Raises:
    UserError: the folder is another run's, there is no checkpoint yet, or the data has other classes.
  """
  folder.check(config.to_dict(), free=('data.path',))
  plan = build.build_plan(config, folder)
  like = create_state(plan.model, plan.optimizer,
                      (*plan.data.image_shape[:2], len(plan.contract.channels.slots)), plan.seed,
                      plan.model_schedules)
  with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
    step = checkpoints.best_step
    if step is None:
      raise UserError(f'{folder.path} has no checkpoint yet: let its first epoch finish')
    contract = checkpoints.restore_contract()
    if contract.classes != plan.data.classes:
      different = ', '.join(sorted(set(contract.classes) ^ set(plan.data.classes))) or 'the same in another order'
      raise UserError(f'the data has other classes than the model was trained on: {different}')
    variables = plan.devices.replicate(checkpoints.restore_best(like=like.variables))
  say(f'restored step {step}')
  placed = build.placement(config, plan.data, contract.channels)
  evaluator = Evaluator(plan.model, placed, plan.devices, plan.batch_size)
  validation, test = (
      evaluator(variables, plan.data.splits[name], gather(plan.data.splits[name], plan.devices, plan.gather_mode), name)
      for name in ('val', 'test'))
  epoch = step // steps_per_epoch(len(plan.data.splits['train']), plan.batch_size)
  return summarise(config, plan, epoch, validation, test)
