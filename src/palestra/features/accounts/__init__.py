"""Players: identities, profiles, log-in, linking, deletion."""
