"""The names a game developer imports; the only API promised stable."""
