"""Many simulated bracelets and a real gateway process: what chaos, benchmarks and tests of the link share."""
