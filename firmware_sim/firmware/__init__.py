"""The bracelet's firmware: clock, battery, sequence numbers and the flash ring."""
