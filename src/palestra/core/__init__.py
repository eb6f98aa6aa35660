"""What every layer shares: errors, ids, time, settings, tasks, events, metrics, log. No network, no database."""
