"""The contract every other package shares: what a reading is, when it is critical, what bytes mean."""
