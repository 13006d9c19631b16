"""How a worker is started, from the settings: Node's flags, environment, user, limits."""

from pathlib import Path

from sessions.workers.pool import WorkerConfig
from supervisor.process import worker_user
from supervisor.process.worker_code import WORKER_MAIN, worker_code
from supervisor.settings import Settings


def worker_config(settings: Settings, directory: Path) -> WorkerConfig:
    """How the workers of this data directory are started and spoken to."""
    user = worker_user.find_user(settings.worker_user)
    return WorkerConfig(
        directory=directory,
        user=user,
        compile_cache=worker_user.cache_path(user, directory),
        command=(
            worker_user.NODE,
            *(worker_user.permission_flags(user, directory) if settings.worker_permissions else ()),
            f"--max-old-space-size={settings.worker_max_heap}",
            # a quiet session allocates little; the default of 16 MiB is never given back
            "--max-semi-space-size=1",
            "--optimize-for-size",
            str(WORKER_MAIN),
        ),
        environment=settings.worker_environment(),
        code=worker_code(fences=worker_user.fences(user, settings.worker_permissions)),
        concurrent_spawns=settings.worker_spawn_concurrency,
        spares=settings.spare_workers,
        limits=settings.limits(),
    )
