"""A sweep that is trained in seconds: two runs on the built-in shapes, and one that diverges."""

from ml_collections import ConfigDict

from configs import task_b


def get_config() -> ConfigDict:
  recipe = task_b.get_config()
  config = ConfigDict()
  config.name = 'tiny'
  config.table = 'models'
  config.common = ConfigDict()
  config.common.data = ConfigDict({'image_size': 16, 'shapes': {'num_train': 250, 'num_val': 64, 'num_test': 64}})
  config.common.train = ConfigDict({'epochs': 2, 'batch_size': 32})
  config.common.model = ConfigDict({'width': 16})
  config.common.checkpoint = recipe.checkpoint
  config.common.runtime = recipe.runtime
  config.runs = (
      ('two', recipe, {'model.stages': 2}, (0,)),
      ('diverging', recipe, {'model.stages': 2, 'optimizer.learning_rate': 1e30}, (0,)),
      ('three', recipe, {'model.stages': 3}, (1,)),
  )
  return config
