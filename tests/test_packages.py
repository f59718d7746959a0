"""Optional packages and versions."""

import json

import numpy as np

from mils_jax.packages import version


def test_a_module_that_another_distribution_brought_has_a_version():
  assert version('numpy') == np.__version__
  assert version('json') == json.__version__  # is part of none
