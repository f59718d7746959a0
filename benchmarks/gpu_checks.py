"""Checks the present device: mixes agree, bfloat16 stays near float32, and the pmapped step equals the plain one.

    python -m benchmarks.gpu_checks

It prints the differences, as a share of the whole norm, and ends with exit code 1 where one is too large.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mils_jax.distributed.devices import AXIS, Devices
from mils_jax.models import networks

IMAGES = jax.random.normal(jax.random.key(0), (16, 84, 84, 3))


def main() -> None:
  failures = [check for check in (*mixes(), *precisions(), *parallel()) if not report(*check)]
  raise SystemExit(1 if failures else 0)


def report(name: str, difference: float, limit: float) -> bool:
  good = difference <= limit
  print(f'{"good" if good else "BAD "} {name}: {difference:.2g}, at most {limit:.2g}', flush=True)
  return good


def difference(found: jax.Array, expected: jax.Array) -> float:
  found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
  return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def logits_and_gradient(network: str, **fields) -> tuple[jax.Array, jax.Array]:
  """Logits in evaluation, and the gradient of their squares to the images; exact products for float32."""
  model = networks()[network](100, **fields)
  variables = networks()[network](100).init(jax.random.key(1), IMAGES[:1], train=False)

  def logits(images: jax.Array) -> jax.Array:
    return model.apply(variables, images, train=False)

  with jax.default_matmul_precision('float32'):
    return jax.jit(logits)(IMAGES), jax.jit(jax.grad(lambda images: jnp.square(logits(images)).sum()))(IMAGES)


def mixes():
  expected = logits_and_gradient('dynamic_resnet12', mix='outputs', implementation='lax')
  for fields in ({'mix': 'kernels'}, {'mix': 'outputs', 'implementation': 'patches'}, {}):
    for what, found, right in zip(('logits', 'gradient'), logits_and_gradient('dynamic_resnet12', **fields), expected,
                                  strict=True):
      yield f'DynamicResNet12, {fields or "as chosen"} against mix outputs, lax, {what}', difference(found, right), 1e-3


def precisions():
  for network in networks():
    found, expected = (logits_and_gradient(network, dtype=dtype)[0] for dtype in (jnp.bfloat16, jnp.float32))
    yield f'{network}, bfloat16 against float32, logits', difference(found, expected), 0.05


def parallel():
  devices = Devices()
  model = networks()['wide_cnn'](100, axis_name=AXIS)
  images = jnp.concatenate([IMAGES] * devices.count)
  variables = model.init(jax.random.key(1), IMAGES[:1], train=False)

  def norm(variables: dict, images: jax.Array) -> jax.Array:
    logits, _ = model.apply(variables, images, train=True, mutable=['batch_stats'])
    return jax.lax.psum(jnp.square(logits).sum(), AXIS)

  found = devices.parallel(norm, replicated=1, shared=1)(devices.replicate(variables), devices.share(images))
  expected = jax.jit(jax.vmap(norm, in_axes=(None, 0), axis_name=AXIS))(variables, images[None])[0]
  yield f'WideCNN in training, pmap over {devices.count} against one whole batch', difference(found, expected), 1e-3


if __name__ == '__main__':
  main()
