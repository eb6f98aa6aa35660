"""What nodes share while they live: bus, membership, presence and caches, in process or across machines."""
