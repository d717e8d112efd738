"""The result of every read: an Arrow table, and its conversions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tickmart.errors import TickmartError

if TYPE_CHECKING:
    import pandas
    import polars


class Result:
    """Rows as an Arrow table. pandas, Polars and DuckDB also read it directly, by the Arrow PyCapsule interface."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def to_arrow(self) -> pa.Table:
        """Return the Arrow table."""
        return self.table

    def to_pandas(self) -> pandas.DataFrame:
        """Return a DataFrame; dates are datetime64, exact decimals are `decimal.Decimal`."""
        try:
            import pandas  # noqa: F401
        except ModuleNotFoundError:
            raise TickmartError("to_pandas() needs pandas: pip install pandas") from None
        frame: pandas.DataFrame = self.table.to_pandas(date_as_object=False)
        return frame

    def to_polars(self) -> polars.DataFrame:
        """Return a Polars DataFrame."""
        try:
            import polars
        except ModuleNotFoundError:
            raise TickmartError("to_polars() needs Polars: pip install polars") from None
        frame = polars.from_arrow(self.table)
        assert isinstance(frame, polars.DataFrame)
        return frame

    def to_pylist(self) -> list[dict[str, Any]]:
        """Return one dict per row."""
        rows: list[dict[str, Any]] = self.table.to_pylist()
        return rows

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        names: list[str] = self.table.column_names
        return names

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        return f"<Result: {len(self)} rows, columns {', '.join(self.columns)}>"
