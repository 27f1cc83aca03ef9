"""The carers' local web page, for phones and wall tablets; works without an internet connection."""
