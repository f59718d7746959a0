import numpy as np
import pytest

from configs import task_b
from configs.task_a import get_config
from mils_jax.commands.cost import cost_lines, measure_cost
from mils_jax.run_config import RunConfig


@pytest.mark.slow
def test_a_dynamic_network_is_counted_in_both_formulations():
  config = get_config('mini_imagenet')
  config.data.image_size = 16
  config.model.update(num_kernels=2, widths=(8,), blocks=1, stem_width=8)
  cost = measure_cost(RunConfig.read(config), compiled=True)
  parallel, mixed = cost.mixes
  assert (parallel.mix, mixed.mix) == ('outputs', 'kernels')
  # 3x3 of 3 to 8 channels on 16x16 positions, for both kernels, or for the mixture and the mixing; plus the attention.
  convolution, attention = 9 * 3 * 8, 3 * 1 + 1 * 2
  assert parallel.macs['stem_conv'] == 2 * 256 * convolution + attention
  assert mixed.macs['stem_conv'] == 256 * convolution + 2 * convolution + attention
  assert parallel.inference.flops > 2 * sum(parallel.macs.values())
  for part in cost.mixes:
    assert part.training.flops > 2 * part.inference.flops
  text = '\n'.join(cost_lines(cost))
  assert 'MACs, mix outputs | MACs, mix kernels |' in text
  assert text.count('XLA, training step') == 2
  assert text.index('stem_conv') < text.index('stage1_block1') < text.index('classifier')


def test_the_step_that_is_counted_is_the_one_that_is_trained():
  """Channel dropout and its named subsets, averaged weights and the skipping of steps are part of it, and cost
  operations."""
  config = get_config('mini_imagenet')
  config.data.image_size = 16
  config.model.update(num_kernels=1, widths=(8,), blocks=1, stem_width=8)
  plain = measure_cost(RunConfig.read(config), compiled=True).mixes[0].training.flops
  for section, name, value in (('channel_dropout', 'method', 'hierarchical'), ('train', 'ema_decay', 0.9),
                               ('train', 'on_nonfinite', 'skip')):
    changed = get_config('mini_imagenet')
    changed.update(config)
    changed[section][name] = value
    flops = measure_cost(RunConfig.read(changed), compiled=True).mixes[0].training.flops
    assert flops > plain, name
    if section == 'channel_dropout':
      changed.channel_dropout.subsets = 'R; G,B'
      assert measure_cost(RunConfig.read(changed), compiled=True).mixes[0].training.flops > flops


def test_of_open_data_the_step_has_the_class_weights_and_the_stored_dtype(tmp_path):
  images = np.random.default_rng(0).integers(0, 255, (30, 8, 8, 3))
  counts = {}
  for dtype, weights in (('uint8', 'none'), ('uint8', 'balanced'), ('float32', 'none')):
    np.savez(tmp_path / f'{dtype}.npz', images=images.astype(dtype), labels=np.arange(30) % 3)
    config = task_b.get_config()
    config.data.update(source='arrays', path=str(tmp_path / f'{dtype}.npz'), image_size=0)
    config.model.update(width=8, stages=2)
    config.train.class_weights = weights
    config.runtime.cache = str(tmp_path / 'cache')
    counts[dtype, weights] = measure_cost(RunConfig.read(config), compiled=True).mixes[0].training
  plain = counts['uint8', 'none']
  assert counts['uint8', 'balanced'].flops > plain.flops
  assert counts['float32', 'none'].bytes_accessed > plain.bytes_accessed


def test_the_blocks_add_up_to_the_totals():
  """Also where a block has nothing that is trained: the imputation of missing channels."""
  config = get_config('mini_imagenet')
  config.data.image_size = 16
  config.model.update(num_kernels=1, widths=(8,), blocks=1, stem_width=8, imputation='linear')
  rows = [line.split('|')[1:-1] for line in cost_lines(measure_cost(RunConfig.read(config))) if line.startswith('|')]
  blocks = {row[0].strip(): [int(cell.replace(',', '')) for cell in row[1:]] for row in rows[2:]}
  total = blocks.pop('total')
  assert blocks['input'][0] == 0
  assert blocks['input'][1] >= 16 * 16 * 3 * 3
  assert [sum(column) for column in zip(*blocks.values(), strict=True)] == total
