"""Third-party games: the seamless wallet that their servers call, signed, and its reconciliation."""
