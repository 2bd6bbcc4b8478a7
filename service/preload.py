"""What gunicorn is to know that is no option: its processes are to share what they import.

Each makes an application of its own once it was forked, since no socket may be shared.
"""

import service.app  # noqa: F401 - here, in the process that forks the others
