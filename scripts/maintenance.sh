#!/bin/sh
# Daily maintenance, now: a backup that is verified, old logs deleted, the database tidied.
#
#   scripts/maintenance.sh
#
# All of this is done by the clock anyway (docs/upkeep.md): this is for those who want it at a time of
# their own, from cron or before an upgrade. Nothing is restarted, and no session notices: there is
# nothing in the program that a restart would mend.
#
# Exit status: 0 done; 1 something has failed (each is tried all the same); 3 no supervisor runs.
root=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
wasup="$root/.venv/bin/wasup"
worst=0
for job in backups logs database; do
  "$wasup" upkeep run "$job"
  status=$?
  [ "$status" -eq 3 ] && exit 3 # it is the same for all of them
  [ "$status" -gt "$worst" ] && worst=$status
done
exit "$worst"
