"""What a forked process finds done when it starts: modules, routes and templates.

The process from which the others are forked imports this module. It leaves `workers.jobs` out,
which names the process that loads it. `pytest` is what a run of one process has as its main module,
which multiprocessing loads in each process that it starts.
"""

import gc

import gunicorn.app.wsgiapp  # noqa: F401
import pytest  # noqa: F401
import rq  # noqa: F401
import zxcvbn  # noqa: F401

import service.local.web_log
import service.local.web_worker
import service.preload  # noqa: F401
import workers.fetching.jobs
import workers.rq_worker
import workers.sending.fanout
import workers.sending.prepared_keys  # noqa: F401
from service.reader import scripts
from tests.support.processes import compiled, forked  # noqa: F401

compiled.share()
for _name in compiled.routes().jinja_env.list_templates(["html"]):
    compiled.routes().jinja_env.get_template(_name)
scripts.version()
# A process that looks for garbage would else copy all of this.
gc.freeze()
