"""Data sets: layouts, preparation, download."""
