"""What carries the bus: within a process, through Valkey or Redis, through NATS."""
