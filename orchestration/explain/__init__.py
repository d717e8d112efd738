"""`tickmart explain`: recalculates one value of the marts from its input rows and finds where these came from.

Belongs here: formulas, input rows, provenance. Does not: printing (``cli``), definitions (the comments of the marts).
"""
