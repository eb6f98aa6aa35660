"""Session tokens: issued at log-in, refreshed, revoked."""
