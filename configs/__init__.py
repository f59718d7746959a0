"""The built-in configurations: `mils-jax train task_a`, or `python main.py --config configs/task_a.py` in a checkout.

Your own configuration builds on them by `from mils_jax.configs import task_a`, both installed and in a checkout, where
mils_jax/configs is a link to this folder.
"""
