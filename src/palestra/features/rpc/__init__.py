"""Server-side functions: the game's own code, called by clients and by other servers."""
