"""What every visit runs: navigation, stamp, the chosen page, footer. `server` serves it.

Belongs here: the order in which these appear and what a failure does to them. Does not: the content of any page.
"""

from pathlib import Path

import streamlit as st

from dashboard import shell
from dashboard.database import MartsError

st.set_page_config(page_title="tickmart", page_icon=str(Path(__file__).with_name("icon.svg")), layout="wide")
page = st.navigation(
    [
        st.Page("views/overview.py", title="Overview", icon=":material/monitoring:", default=True),
        st.Page("views/price.py", title="Price", icon=":material/candlestick_chart:", url_path="price"),
        st.Page("views/sentiment.py", title="Sentiment", icon=":material/mood:", url_path="sentiment"),
        st.Page("views/compare.py", title="Compare", icon=":material/compare_arrows:", url_path="compare"),
        st.Page("views/data_quality.py", title="Data quality", icon=":material/fact_check:", url_path="data_quality"),
        st.Page("views/dictionary.py", title="Dictionary", icon=":material/menu_book:", url_path="dictionary"),
    ],
    position="top",
)
with shell.turn():
    shell.stamp()
    try:
        with st.skeleton(height=480):  # shows itself only when the page takes longer than half a second
            page.run()
    except shell.Finished:
        pass
    except MartsError as error:
        shell.problem(error)
    shell.footer()
