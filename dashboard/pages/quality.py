"""Data quality."""
import streamlit as st
st.title("Data quality", anchor=False)
