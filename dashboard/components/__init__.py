"""Streamlit elements that several pages share. No SQL, no figures, no page content."""
