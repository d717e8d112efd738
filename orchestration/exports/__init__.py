"""Files for other tools: exports of bars and releases of the marts. Does not belong here: their commands (``cli``)."""
