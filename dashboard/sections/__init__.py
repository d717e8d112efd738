"""Parts of pages that are too long for one module: queries, figures, tables and text of one topic."""
