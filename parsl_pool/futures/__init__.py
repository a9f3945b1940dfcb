"""The futures that users hold, and what can be asked of them."""

from parsl_pool.futures.app_future import _BURST as _BURST
from parsl_pool.futures.app_future import CANCELLED as CANCELLED
from parsl_pool.futures.app_future import CANCELLED_AND_NOTIFIED as CANCELLED_AND_NOTIFIED
from parsl_pool.futures.app_future import FINISHED as FINISHED
from parsl_pool.futures.app_future import OVER as OVER
from parsl_pool.futures.app_future import PENDING as PENDING
from parsl_pool.futures.app_future import RUNNING as RUNNING
from parsl_pool.futures.app_future import AppFuture as AppFuture
from parsl_pool.futures.app_future import FutureInArguments as FutureInArguments
from parsl_pool.futures.app_future import LiftingFuture as LiftingFuture
from parsl_pool.futures.app_future import Owner as Owner
from parsl_pool.futures.app_future import has_failed as has_failed
from parsl_pool.futures.outcome import Failure as Failure
from parsl_pool.futures.outcome import Unopened as Unopened
from parsl_pool.futures.outcome import Value as Value
from parsl_pool.futures.outcome import frameless as frameless
from parsl_pool.futures.outcome import set_opener as set_opener
