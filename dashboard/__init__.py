"""Streamlit pages over the marts: pure figure builders, one file of queries; imports no other package of this project."""
