"""Every SQL statement of the dashboard: one cached function each, bound parameters, schema marts only.

No connections (`database`), no numbers that depend on user choices (`analysis`), no wording. Every function raises
MartsError when the marts cannot be read.
"""
