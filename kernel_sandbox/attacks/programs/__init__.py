"""The attacks themselves: what runs in the sandbox, and in the control beside it.

Their text is sent in a cell, so these modules import the standard library and one another
alone. Each attack is a function of an `Aim`; it returns what it reached, and raises what
stopped it.
"""
