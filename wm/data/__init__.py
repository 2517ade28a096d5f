"""Storage of steps: replay on the device and on the host, rollouts, priorities."""
