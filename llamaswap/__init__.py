"""One endpoint in front of many local inference servers, swapped on demand."""

__version__ = "0.1.0"
