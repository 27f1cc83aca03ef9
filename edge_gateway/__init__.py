"""The gateway: takes readings from bracelets, judges them at once, keeps them safe, delivers them."""
