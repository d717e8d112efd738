"""Streamlit pages over the marts. Imports no other package of tickmart and reads schema marts only."""
