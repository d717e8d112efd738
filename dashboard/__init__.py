"""Streamlit pages over the marts: figures as pure functions, one file of queries; imports no other room of tickmart."""
