"""Image classifiers for any input channels, and shallow wide ones, in JAX and Flax linen."""
