"""The contract: names, numbers and formats that other systems rely on, written out."""
