"""Bracelets that do not exist yet: simulated children, firmware and radio, and where their readings go."""
