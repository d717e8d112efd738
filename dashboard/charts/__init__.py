"""The figures of the dashboard: one module for each page's, and `base` for what they share."""
