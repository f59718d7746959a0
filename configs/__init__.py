"""The built-in configurations: `mils-jax train task_a`, or `python main.py --config configs/task_a.py` in a checkout.

A configuration of one's own builds on them by `from mils_jax.configs import task_a`, installed or in a checkout, where
mils_jax/configs is a link to this folder.
"""
