"""What an executor without a `storage_access` of its own uses."""

from __future__ import annotations

from parsl_pool.staging.base import Staging
from parsl_pool.staging.noop import NoOpFileStaging
from parsl_pool.staging.protocols import FTPSeparateTaskStaging, HTTPSeparateTaskStaging

default_staging: list[Staging] = [NoOpFileStaging(), FTPSeparateTaskStaging(), HTTPSeparateTaskStaging()]
"""For `storage_access`: put your own before or after it, `[Mine(), *default_staging]`."""
