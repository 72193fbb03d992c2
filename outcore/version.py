"""The one place where outcore's version stands."""

__version__ = "0.1.0"
