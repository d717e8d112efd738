"""Plotly figures as pure functions of DataFrames, one module per page."""
