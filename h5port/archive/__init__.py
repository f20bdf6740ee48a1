"""A path becomes an `Archive`: the config document and the tree of stored arrays."""

from h5port.archive.archive import Archive, StoredArray, WriterMark
from h5port.archive.opening import open_archive, read_config_file

__all__ = ["Archive", "StoredArray", "WriterMark", "open_archive", "read_config_file"]
