"""The `stoppress` command. The first line of a command's docstring is its help text."""

from service.cli.main import main

__all__ = ["main"]

main.add_section(
    "Alerts",
    {
        **{name: f"alerts:{name}" for name in ("send", "status", "correct")},
        **{name: f"alerts:{name}" for name in ("pause", "resume", "cancel")},
        "stop": "stop:stop",
    },
)
main.add_section(
    "The newsroom",
    {
        "topics": "topics:topics",
        "stories": "topics:stories",
        "feeds": "feeds:feeds",
        "subscriptions": "subscriptions:subscriptions",
        "editor": "access:editor",
        "token": "access:token",
        "webhooks": "webhooks:webhooks",
        "import": "moving:import_readers",
        "export": "exporting:export_readers",
    },
)
main.add_section(
    "To run it", {name: f"run:{name}" for name in ("up", "web", "worker", "clock", "fetch")}
)
main.add_section(
    "To look after it",
    {
        "doctor": "main:doctor",
        "config": "settings:config",
        "services": "push_services:services",
        "keys": "keys:keys",
        "redis-users": "redis_users:print_users",
    },
)
main.add_section("To try it", {name: f"trials:{name}" for name in ("rehearse", "seed", "bench")})
