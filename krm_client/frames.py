"""An Arrow stream of KRM into a pandas DataFrame, with types that lose nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from krm_client import errors
from krm_client.errors import KrmUsageError

if TYPE_CHECKING:
    import pandas as pd

_TOLD = ("krm.freshness", "krm.scope", "krm.page")


def require() -> None:
    """Raises ``KrmUsageError`` where pandas or pyarrow are missing."""
    try:
        import pandas
        import pyarrow
    except ImportError as error:
        raise KrmUsageError(f"frame() needs {error.name}: pip install 'kubernetes-resource-monitor[frames]'") from error
    del pandas, pyarrow


def dataframe(content: bytes) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The frame, and what the stream tells of the answer. Raises ``KrmProtocolError`` for one that is not whole."""
    import pandas as pd
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(content) as stream:
            table = stream.read_all()
        metadata = table.schema.metadata or {}
        told = {name.removeprefix("krm."): json.loads(metadata[name.encode()]) for name in _TOLD}
        rows = told["page"]["rows"]
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise errors.KrmProtocolError(f"the answer is not a frame of KRM: {error}") from error
    if table.num_rows != rows:
        raise errors.KrmProtocolError(f"the frame was cut: {table.num_rows} of {rows} rows came")
    # Plain integers with gaps would become floats, which round bytes of memory above 2^53.
    exact = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=exact.get)
    frame.attrs["krm"] = told
    return frame, told
