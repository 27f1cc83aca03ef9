"""The subcommands of kidjamo-gateway."""
