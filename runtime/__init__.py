"""Code with I/O that several packages share; it imports `vitals` and no other package.

Each module needs only its own third-party library, if any, so that a package depends on what it uses.
"""
