"""Settings: YAML presets and the loader that turns them into the owners' dataclasses.

This room knows keys and types, and nobody who uses them.
"""

from configs.loader import ConfigError, did_you_mean, dump, load, presets, user_file, user_path

__all__ = ["ConfigError", "did_you_mean", "dump", "load", "presets", "user_file", "user_path"]
