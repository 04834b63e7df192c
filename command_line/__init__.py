"""What the programs share: parsing, and the flags of data, masks and methods.

Only these modules and the programs read FLAGS; everything below them takes arguments.
"""
