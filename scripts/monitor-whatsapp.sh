#!/bin/sh
# Watches wasup from cron (`crontab -e`), every two minutes:
#
#   */2 * * * * /path/to/wasup/scripts/monitor-whatsapp.sh
#
# Cron's bare environment is enough; settings come from .env beside the Makefile. `--help` says what it does and which it takes.
root=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
python="$root/.venv/bin/python"

if ! [ -x "$python" ]; then
  echo "$python is missing: run make setup in $root" >&2
  exit 2
fi
exec "$python" "$root/scripts/monitor.py" "$@"
