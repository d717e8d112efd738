"""Entry of the dashboard: `streamlit run dashboard/app.py`. Navigation, stamp, the chosen page, footer.

Belongs here: the order in which these appear and what a failure does to them. Does not: the content of any page.
"""

from pathlib import Path

import streamlit as st

from dashboard import shell
from dashboard.database import MartsError

st.set_page_config(page_title="tickmart", page_icon=str(Path(__file__).with_name("icon.svg")), layout="wide")
page = st.navigation(
    [
        st.Page("pages/overview.py", title="Overview", icon=":material/monitoring:", default=True),
        st.Page("pages/price.py", title="Price", icon=":material/candlestick_chart:", url_path="price"),
        st.Page("pages/quality.py", title="Data quality", icon=":material/fact_check:", url_path="quality"),
    ],
    position="top",
)
shell.stamp()
try:
    page.run()
except MartsError as error:
    shell.problem(error)
shell.footer()
