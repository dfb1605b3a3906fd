"""All ready-made handlers as one class, for the jobs of a processing platform."""

from pygeoapi_prefect.handlers import (
    MonitoredHandler,
    MultiStorageHandler,
    StacHandler,
    ValidatedHandler,
    WorkspaceHandler,
)


class FullFeaturedHandler(MonitoredHandler, WorkspaceHandler, StacHandler, MultiStorageHandler, ValidatedHandler):
    """
    Knows the user, opens the workspace, makes STAC of rasters, and when all is good publishes it.

    Each class lets its parents' post hooks run before its own, so the last one named is the first: what breaks a rule
    gets into no store, what is in no store is published nowhere, and what is not published is not registered. The
    metrics come at the end, and tell of all of it.
    """
