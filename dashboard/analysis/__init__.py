"""Pure functions from DataFrames to numbers and sentences that depend on what the user chose on a page.

What depends on the data alone is a column of a mart. No SQL, no figures, no widgets.
"""
