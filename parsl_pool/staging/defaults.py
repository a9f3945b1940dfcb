"""What an executor without a `storage_access` of its own uses."""

from __future__ import annotations

from parsl_pool.staging.base import Staging
from parsl_pool.staging.noop import NoOpFileStaging

default_staging: list[Staging] = [NoOpFileStaging()]
"""For `storage_access`: put your own before or after it, `[Mine(), *default_staging]`."""
