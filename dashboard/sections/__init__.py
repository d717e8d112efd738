"""Parts of pages that are too long for one module: queries, figures and text of one topic. No controls of the page."""
