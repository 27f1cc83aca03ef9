"""The carers' local web page: works with the internet down, for a phone and for a wall tablet."""
