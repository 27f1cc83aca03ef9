"""Complete simulated devices: a child's vitals, the firmware and a transport."""
