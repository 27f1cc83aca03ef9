"""Complete simulated devices: a child's values, the firmware and a transport."""
