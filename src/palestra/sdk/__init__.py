"""What game modules are written with: Game, hooks, typed functions and the context they get."""
