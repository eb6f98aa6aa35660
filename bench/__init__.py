"""Measurements of the hot paths beside the floors of the same machine and the same minute: `./dev bench`."""
