"""The `stoppress` command. The first line of a command's docstring is its help text."""

from service.cli import access, keys, push_services, redis_users, run, stop, trials
from service.cli.main import main

__all__ = ["main"]

for command in (
    *(run.up, run.web, run.worker, run.clock, run.fetch),
    *(access.editor, access.token, keys.keys, push_services.services),
    *(stop.stop, redis_users.print_users),
    *(trials.seed, trials.rehearse, trials.bench),
):
    main.add_command(command)
