"""The `stoppress` command. The first line of a command's docstring is its help text."""

from service.cli import (
    access,
    alerts,
    keys,
    moving,
    push_services,
    redis_users,
    run,
    stop,
    subscriptions,
    topics,
    trials,
)
from service.cli.main import main

__all__ = ["main"]

for title, commands in {
    "Alerts": (
        *(alerts.send, alerts.status, alerts.correct),
        *(alerts.pause, alerts.resume, alerts.cancel, stop.stop),
    ),
    "The newsroom": (
        *(topics.topics, topics.stories, subscriptions.subscriptions),
        *(access.editor, access.token, moving.import_readers, moving.export_readers),
    ),
    "To run it": (run.up, run.web, run.worker, run.clock, run.fetch),
    "To look after it": (
        *(main.commands["doctor"], push_services.services),
        *(keys.keys, redis_users.print_users),
    ),
    "To try it": (trials.rehearse, trials.seed, trials.bench),
}.items():
    main.add_section(title, commands)
