"""Sources of labelled images."""

from mils_jax.data.sources.registry import DataOptions, data_section, open_configured, open_source

__all__ = ['DataOptions', 'data_section', 'open_configured', 'open_source']
