"""Where the store of these settings is, and how it is opened: for the supervisor, and for commands
that do without one.
"""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import URL

from sessions.forever import Forever
from sessions.store import Store, StoreHealth
from sessions.store.engine.database import Pool, parse_url, sqlite_url
from sessions.store.sealing.cipher import Cipher, parse_keys
from supervisor.places import store_marker
from supervisor.places.installation import DATABASE
from supervisor.settings import Settings


def data_directory(settings: Settings) -> Path:
    """Where everything is written."""
    return settings.data_dir.expanduser().absolute()


def store_url(settings: Settings) -> URL:
    """Where the store is."""
    url = settings.database_url
    return (
        parse_url(url.get_secret_value())
        if url
        else sqlite_url(data_directory(settings) / DATABASE)
    )


def store_cipher(settings: Settings) -> Cipher | None:
    """What encrypts it, if anything."""
    key = settings.store_key
    return Cipher(parse_keys(key.get_secret_value())) if key else None


async def open_store(
    settings: Settings,
    forever: Forever | None = None,
    notify: Callable[[StoreHealth], None] | None = None,
) -> Store:
    """The store that the settings name, with its keys. `notify` is told of each change of its
    health.

    Raises StoreUnavailable: also if it is not the data directory's own any more.
    """
    url, directory = store_url(settings), data_directory(settings)
    store_marker.check_file(directory, url)
    store = await Store.open(
        url,
        settings.event_log_bounds(),
        store_cipher(settings),
        forever,
        notify,
        Pool(settings.database_pool_size, settings.database_max_overflow),
    )
    try:
        await store_marker.check_store(directory, store, url)
    except BaseException:
        await store.close()
        raise
    return store
