"""How a command reaches the running supervisor."""

from supervisor.cli.common.client import ANSWER_SECONDS, HOW_TO_START, Client
from supervisor.cli.common.exits import EXIT_CONFIG, NoSupervisor, fail
from supervisor.settings import BadSettings, Settings, load


def configuration() -> Settings:
    """The settings, or the end of the command."""
    try:
        return load()
    except BadSettings as error:
        fail(str(error), EXIT_CONFIG)


def running(settings: Settings) -> Client | None:
    """The running supervisor of this data directory, if there is one. Raises NoSupervisor."""
    return Client.of_running(settings, settings.data_dir)


def must_run(settings: Settings | None = None, answer_seconds: float = ANSWER_SECONDS) -> Client:
    """The running supervisor. Raises NoSupervisor when there is none."""
    settings = settings or configuration()
    client = Client.of_running(settings, settings.data_dir, answer_seconds)
    if client is None:
        raise NoSupervisor(
            f"No supervisor runs on {settings.data_dir} (nobody holds the lock there): "
            + HOW_TO_START
        )
    return client
