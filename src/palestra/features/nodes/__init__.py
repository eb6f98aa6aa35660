"""Which nodes share this database: names, epochs, and leases that one of them holds."""
