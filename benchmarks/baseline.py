"""One baseline in its own process: a network's training step or inference, run for a while on request.

The driver starts one process for each baseline, with a JSON object of `Task`'s fields as its only argument, and starts
rounds by lines on standard input. Baselines in one process would share the C library's memory settings and threads.

    ready -> {"compile_seconds": ..., "compile_bytes": ..., "device": ...}, and of jax "macs", the useful multiply-adds
        of one image; the bytes are the peak memory until the end of the first step, including compilation
    run SECONDS -> {"seconds": [...]} per step, each the mean of `steps` that were timed together, after as many
        seconds of warm-up, which absorb the state of caches and free memory that the last baseline left
    memory -> {"bytes": ...}, the peak since the first step: resident on a CPU, allocated on a GPU
"""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mils_jax.distributed.huge_pages import start_with_huge_pages

CLASSES = 100
RATE_SIZE = 2048  # side of the matrices whose product is the limit


@dataclasses.dataclass(frozen=True)
class Task:
  """The task of a baseline.

  Attributes:
    side: jax (this project), pytorch or numpy; stablehlo or onnx: this project's export, read back.
    variant: jax: what attention mixes, auto, outputs or kernels; pytorch: parallel or grouped, followed by '-compiled'
      where torch.compile is used. Networks without dynamic convolutions have only auto.
    work: train, infer, or product (a matrix product of float32).
    network, image_size, batch: what the work is done on; empty and 0 for a product.
    precision: float32 or bfloat16.
    steps: number of steps that are dispatched before waiting for them; more than one keeps a GPU busy.
    channels: number of channels of the images.
    num_kernels: K of the dynamic convolutions.
  """

  side: str
  work: str
  variant: str = 'auto'
  network: str = ''
  image_size: int = 0
  batch: int = 0
  precision: str = 'float32'
  steps: int = 1
  channels: int = 3
  num_kernels: int = 4


def jax_step(task: Task) -> tuple[Callable[[], object], Callable[[object], None]]:
  """A function that starts a step in JAX, and one that waits for its result."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  from mils_jax.channels import ChannelSpec
  from mils_jax.distributed.devices import AXIS, Devices
  from mils_jax.models import networks
  from mils_jax.training.optim import OptimizerOptions
  from mils_jax.training.plan import StepPlan, TrainOptions
  from mils_jax.training.state import state_creator
  from mils_jax.training.train_step import make_train_step

  if task.work == 'product':
    matrix = jax.random.normal(jax.random.key(0), (RATE_SIZE, RATE_SIZE))
    with jax.default_matmul_precision('float32'):
      product = jax.jit(jnp.dot).lower(matrix, matrix).compile()
    return lambda: product(matrix, matrix), jax.block_until_ready
  devices = Devices(1)
  model = networks()[task.network](CLASSES, dtype=jnp.dtype(task.precision), axis_name=AXIS,
                                   implementation=devices.platform, **fields_of(task, task.variant))
  names = tuple(f'band {number}' for number in range(task.channels))
  spec = ChannelSpec(names, ('',) * task.channels, (116.0,) * task.channels, (57.0,) * task.channels)
  mapping = spec.map_from(names)
  shape = (task.image_size, task.image_size, task.channels)
  random = np.random.default_rng(0)
  images = random.integers(0, 256, (task.batch, *shape), np.uint8)
  batch = devices.share({'image': images, 'label': random.integers(0, CLASSES, task.batch, np.int32),
                         'mask': np.ones(task.batch, np.float32)})
  optimizer = OptimizerOptions('sgd', momentum=0.9, weight_decay=5e-4, decay_all=True).create(lambda step: 0.01)
  plan = StepPlan(model, mapping, TrainOptions(label_smoothing=0.1), optimizer, steps_per_epoch=1000)
  state = devices.replicate(state_creator(plan, shape)())
  if task.work == 'infer':
    def logits(variables: dict, batch: dict) -> jax.Array:
      inputs, present = mapping.apply(batch['image'])
      return model.apply(variables, inputs, train=False, present=present)

    infer = devices.parallel(logits, replicated=1, shared=1, gather=True)
    return lambda: infer(state.variables, batch), jax.block_until_ready
  step = devices.parallel(make_train_step(plan, AXIS), replicated=1, shared=1, donate=(0,))

  def train() -> object:
    nonlocal state
    state, signals = step(state, batch)
    return signals

  return train, jax.block_until_ready


def fields_of(task: Task, mix: str) -> dict:
  """The fields of its network, in addition to those that all networks have."""
  if task.network != 'dynamic_resnet12':
    return {}
  return {'mix': mix, 'num_kernels': task.num_kernels, 'in_channels': task.channels}


def pytorch_step(task: Task) -> tuple[Callable[[], object], Callable[[object], None]]:
  """The same in PyTorch with its usual best settings: on a GPU channels_last, autocast and a fused optimiser."""
  import torch

  from benchmarks.pytorch_networks import create

  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  wait = (lambda _: torch.cuda.synchronize()) if device == 'cuda' else (lambda _: None)
  if task.work == 'product':
    matrix = torch.randn(RATE_SIZE, RATE_SIZE, device=device)
    return lambda: matrix @ matrix, wait
  variant, _, compiled = task.variant.partition('-')
  layout = torch.channels_last if device == 'cuda' else torch.contiguous_format
  model = create(task.network, variant, CLASSES).to(device, memory_format=layout)
  run = torch.compile(model) if compiled else model
  images = torch.randint(0, 256, (task.batch, 3, task.image_size, task.image_size), dtype=torch.uint8, device=device)
  images = images.contiguous(memory_format=layout)
  labels = torch.randint(0, CLASSES, (task.batch,), device=device)
  mean = torch.tensor([124.0, 116.0, 104.0], device=device)[:, None, None]
  std = torch.tensor([58.0, 57.0, 57.0], device=device)[:, None, None]
  half = torch.autocast(device, torch.bfloat16, enabled=task.precision == 'bfloat16')
  if task.work == 'infer':
    model.eval()

    def infer() -> torch.Tensor:
      with torch.inference_mode(), half:
        return run((images.float() - mean) / std)

    return infer, wait
  optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=5e-4, fused=True)
  loss_function = torch.nn.CrossEntropyLoss(label_smoothing=0.1)

  def train() -> torch.Tensor:
    optimizer.zero_grad(set_to_none=True)
    with half:
      loss = loss_function(run((images.float() - mean) / std).float(), labels)
    loss.backward()
    optimizer.step()
    return loss

  return train, wait


def exported_step(task: Task) -> tuple[Callable[[], object], Callable[[object], None]]:
  """The same functions for what `export` writes, with JAX alone or ONNX Runtime; inference only."""
  import tempfile

  import jax
  import numpy as np

  from mils_jax import build
  from mils_jax.channels import ChannelSpec
  from mils_jax.export import onnx, stablehlo
  from mils_jax.export.function import ExportedModel
  from mils_jax.restore import Restored
  from mils_jax.run_config import RunConfig, default_config
  from mils_jax.training.record import ModelSpec

  if task.work != 'infer' or task.precision != 'float32':
    raise SystemExit(f'an export only infers, in float32; not {task.work} in {task.precision}')
  config = RunConfig.read(default_config('export', task.network))
  names = tuple(f'band {number}' for number in range(task.channels))
  spec = ChannelSpec(names, ('',) * task.channels, (116.0,) * task.channels, (57.0,) * task.channels)
  size = (task.image_size, task.image_size)
  model = build.build_model(config.model, task.precision, 'cpu', task.channels, CLASSES, size)
  images = np.random.default_rng(0).integers(0, 256, (task.batch, *size, task.channels)).astype(np.float32)
  variables = jax.jit(lambda: model.init(jax.random.key(0), images[:1], train=False))()
  model_spec = ModelSpec(spec, tuple(map(str, range(CLASSES))), size, '', names)
  exported = ExportedModel(Restored(config, model, jax.device_get(variables), model_spec, 0))
  with tempfile.TemporaryDirectory() as folder:
    logits = {'stablehlo': stablehlo, 'onnx': onnx}[task.side].write(exported, Path(folder))
  present = np.ones((task.batch, task.channels), bool)
  return lambda: logits(images, present), lambda _: None


def numpy_step(task: Task) -> tuple[Callable[[], object], Callable[[object], None]]:
  import numpy as np

  matrix = np.random.default_rng(0).normal(size=(RATE_SIZE, RATE_SIZE)).astype(np.float32)
  return lambda: matrix @ matrix, lambda _: None


SIDES = {'jax': jax_step, 'pytorch': pytorch_step, 'stablehlo': exported_step, 'onnx': exported_step,
         'numpy': numpy_step}


def describe(task: Task) -> dict:
  """The device, and the useful multiply-adds of an image: every convolution once, and the mixing of kernels."""
  if task.side != 'jax':
    return {}
  import jax
  import jax.numpy as jnp

  from mils_jax.models import networks
  from mils_jax.models.flops import as_defined, count_multiply_adds

  found = {'device': jax.devices()[0].device_kind}
  if task.network:
    model = as_defined(networks()[task.network](CLASSES, **fields_of(task, 'kernels')))
    image = jnp.zeros((1, task.image_size, task.image_size, task.channels))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    found['macs'] = sum(count_multiply_adds(lambda v, x: model.apply(v, x, train=False), variables, image).values())
  return found


def peak_bytes(task: Task) -> int:
  """The peak memory since `forget_peak`: on the device if it is a GPU, else the resident memory."""
  if task.side == 'jax':
    import jax

    if jax.default_backend() != 'cpu':
      return jax.local_devices()[0].memory_stats()['peak_bytes_in_use']
  if task.side == 'pytorch':
    import torch

    if torch.cuda.is_available():
      return torch.cuda.max_memory_allocated()
  status = Path('/proc/self/status').read_text()
  return 1024 * int(status.split('VmHWM:')[1].split()[0])


def forget_peak(task: Task) -> None:
  """Resets the peak of resident memory, or of memory allocated on a GPU; JAX cannot reset a GPU's peak."""
  with contextlib.suppress(OSError):  # where the system forbids it, compiling counts too
    Path('/proc/self/clear_refs').write_text('5')
  if task.side == 'pytorch':
    import torch

    if torch.cuda.is_available():
      torch.cuda.reset_peak_memory_stats()


def main() -> None:
  task = Task(**json.loads(sys.argv[1]))
  if task.side == 'jax':
    start_with_huge_pages()  # as main.py does
  started = time.perf_counter()
  step, wait = SIDES[task.side](task)
  wait(step())
  log({'compile_seconds': time.perf_counter() - started, 'compile_bytes': peak_bytes(task), **describe(task)})
  forget_peak(task)
  for line in sys.stdin:
    word, *rest = line.split()
    if word == 'memory':
      log({'bytes': peak_bytes(task)})
      continue
    repeat(step, wait, 1, float(rest[0]))
    log({'seconds': repeat(step, wait, task.steps, float(rest[0]))})


def repeat(step: Callable[[], object], wait: Callable[[object], None], steps: int, seconds: float) -> list[float]:
  """Seconds per step, each the mean of `steps` dispatched together, measured at least once."""
  times, end = [], time.perf_counter() + seconds
  while not times or time.perf_counter() < end:
    before = time.perf_counter()
    for _ in range(steps - 1):
      step()
    wait(step())
    times.append((time.perf_counter() - before) / steps)
  return times


def log(values: dict) -> None:
  print(json.dumps(values), flush=True)


if __name__ == '__main__':
  main()
