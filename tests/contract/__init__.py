"""What the outside world relies on, written out: names, numbers and formats."""
