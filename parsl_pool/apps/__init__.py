"""Decorators that make a function an app: a call of it is a task."""

from parsl_pool.apps.app import AppBase as AppBase
from parsl_pool.apps.app import BashApp as BashApp
from parsl_pool.apps.app import PythonApp as PythonApp
from parsl_pool.apps.decorators import bash_app as bash_app
from parsl_pool.apps.decorators import join_app as join_app
from parsl_pool.apps.decorators import python_app as python_app
