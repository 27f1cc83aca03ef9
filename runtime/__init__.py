"""What the daemons share and `vitals` may not hold, because it does I/O. Imports `vitals` only."""
