# Facts about the unit that upgrades run in: what does not hurt it, and what it may do.
# shellcheck shell=bash disable=SC2154

# waits WHAT: whether a session waits for an event, or for one of a type.
waits() { [ "$(sql "select count(*) > 0 from pg_stat_activity where '$1' in (wait_event, wait_event_type)")" = t ]; }
# hold_migrations: a reader that keeps the first migration waiting until let_go.
hold_migrations() {
  m runuser postgres -c "psql -qc 'begin; lock table upgrade_reports in access share mode; select pg_sleep(600)' openwatch" >/dev/null 2>&1 &
  wait_for 10 waits PgSleep
}
let_go() { sql "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'" >/dev/null; }

# Rows 59, 66 and 70.
fact "deb rpm" a_closed_terminal_does_not_hurt_the_upgrade_and_a_retry_joins_it
a_closed_terminal_does_not_hurt_the_upgrade_and_a_retry_joins_it() {
  old_machine; use_repo 2.0.0; hold_migrations
  local words='dnf -y update'; [ "$family" = rpm ] || words='apt-get -y upgrade'
  # On a terminal of its own, with lock_timeout above what the fact takes.
  sh_ "mkdir -p /etc/openwatch/upgrade.conf.d; echo 'lock_timeout = \"60s\"' > /etc/openwatch/upgrade.conf.d/fact.conf
    setsid script -qfc '$words' /root/terminal >/dev/null 2>&1 < /dev/null & echo \$! > /root/script.pid"
  wait_for 60 waits Lock
  local before; before=$(m systemctl show -P MainPID openwatch-upgrade.service)
  # The window is closed: the terminal is gone, and everything on it is hung up.
  sh_ 'kill -KILL "$(cat /root/script.pid)"'
  expect_is "$before" m systemctl show -P MainPID openwatch-upgrade.service
  waits Lock || fail "the unit has ended with the terminal"
  # Somebody else tries again, and waits for the same job.
  m openwatch upgrade > "$scratch/second" 2>&1 & local second=$!
  let_go
  wait $second; case $? in 0 | 75) ;; *) fail "the second run: $(cat "$scratch/second")" ;; esac
  wait_for 60 sh_ '! test -e /var/lib/openwatch/upgrade/pending'
  wait_for 60 sh_ 'test "$(systemctl is-active openwatch-upgrade.service)" = inactive'
  wait_for 30 sh_ "! pgrep -x 'dnf|rpm|apt-get|dpkg'"
  if [ "$family" = deb ]; then run dpkg --configure -a; else run sh -c 'dnf -y remove --duplicates || dnf -y reinstall openwatch'; fi
  expect_rc 0; expect_upgraded; wait_for 20 http /readyz; expect_ready 2.0.0
}

# rated UNIT MOST: systemd-analyze finds it open to no more than that.
rated() {
  local got
  got=$(m systemd-analyze security --no-pager "$1" | sed -n 's/.*exposure level for .*: \([0-9.]*\).*/\1/p')
  say "$1 $got"
  awk "BEGIN { exit !(\"$got\" != \"\" && $got <= $2) }" || fail "$1 is open to $got, more than $2"
}
walls() { sh_ "for wall in ProtectSystem ProtectHome PrivateTmp; do systemctl show -P \$wall openwatch-$1.service; done | tr '\n' ' '"; }
shut='strict read-only yes ' opened='yes no no '

# The configuration that we ship needs nothing outside; where one does, the walls follow it by themselves.
#
# Row 79.
fact "deb rpm" what_the_unit_may_not_do_is_nothing_that_an_upgrade_needs
what_the_unit_may_not_do_is_nothing_that_an_upgrade_needs() {
  old_machine
  # docs/SECURITY.md says what stays open, and why.
  local unit most
  while read -r unit most; do rated "$unit" "$most"; done <<'UNITS'
openwatch.service 1.5
openwatch-upgrade.service 2.5
openwatch-backup-cleanup.service 2.5
openwatch-asked.service 2.5
openwatch-failure@x.service 2.5
openwatch-rollback.service 9.0
UNITS
  expect_is "$shut" walls upgrade
  # Peer authentication, a socket below /tmp, restore points below /home: all at once.
  sh_ "sed -i \"s|^#*unix_socket_directories.*|unix_socket_directories = '/run/postgresql, /tmp'|\" /etc/postgresql/*/main/postgresql.conf
    systemctl restart postgresql@*-main.service
    mkdir -p /home/keep/points && chmod 700 /home/keep/points
    echo 'backup_dir = \"/home/keep/points\"' > /root/own.conf
    mkdir -p /etc/openwatch/upgrade.conf.d && mv /root/own.conf /etc/openwatch/upgrade.conf.d/own.conf
    mkdir -p /etc/systemd/system/openwatch.service.d
    printf '[Service]\nPrivateTmp=no\n' > /etc/systemd/system/openwatch.service.d/tmp.conf; systemctl daemon-reload
    echo 'OPENWATCH_DATABASE_DSN=postgresql:///openwatch?host=/tmp' > /etc/openwatch/secrets.env
    systemctl restart openwatch.service" || fail "restart"
  expect_is "$opened" walls upgrade
  wait_for 30 http /readyz
  upgrade_to 2.0.0
  expect_rc 0; expect_installed 2.0.0; expect_schema 0007; expect_mark none; expect_ready 2.0.0
  expect_is 1 sh_ 'ls -d /home/keep/points/*/manifest.json | wc -l'
  run systemctl start openwatch-backup-cleanup.service; expect_rc 0
  # Edited behind the back of systemd: the unit looks for itself, in both directions.
  sh_ 'rm /etc/openwatch/upgrade.conf.d/own.conf; echo OPENWATCH_DATABASE_DSN=postgresql:///openwatch > /etc/openwatch/secrets.env'
  run systemctl start openwatch-backup-cleanup.service; expect_rc 0
  expect_is "$shut" walls backup-cleanup
  sh_ "mkdir -p /data/points && chmod 700 /data/points && echo 'backup_dir = \"/data/points\"' > /etc/openwatch/upgrade.conf.d/own.conf"
  run systemctl start openwatch-backup-cleanup.service; expect_rc 0
  expect_is "$opened" walls backup-cleanup; expect_is "$opened" walls upgrade
}

# It mounts, and looks at a device, as programs that make snapshots do.
fact "deb" a_snapshot_that_works_at_a_prompt_works_in_the_unit
a_snapshot_that_works_at_a_prompt_works_in_the_unit() {
  old_machine
  sh_ "printf '#!/bin/sh\nmount -t tmpfs none /mnt && umount /mnt && [ -c /dev/null ] && echo snap-4711\n' > /usr/local/sbin/snapshot
    chmod 755 /usr/local/sbin/snapshot; mkdir -p /etc/openwatch/upgrade.conf.d
    printf 'restore_point = \"external\"\nrestore_point_command = [\"/usr/local/sbin/snapshot\"]\n' > /etc/openwatch/upgrade.conf.d/own.conf"
  upgrade_to 2.0.0
  expect_rc 0; expect_schema 0007; expect_mark none; expect_ready 2.0.0; expect_is "$opened" walls upgrade
  run openwatch backup list; expect_out snap-4711
}

# An upgrade that fails and is tried again, behind the walls that stand where nothing asks for a gap.
#
# Row 79.
whole_fact "deb rpm" an_upgrade_and_the_daily_job_need_nothing_outside_their_walls
an_upgrade_and_the_daily_job_need_nothing_outside_their_walls() {
  old_machine; expect_is "$shut" walls upgrade
  upgrade_to 2.1.0; expect_failure; expect_out '0008_audit_trail'; expect_mark there; expect_schema 0005
  upgrade_to 3.0.0; expect_rc 0; expect_mark none; expect_ready 3.0.0; expect_points 2
  run systemctl start openwatch-backup-cleanup.service; expect_rc 0
  expect_is "$shut" walls upgrade; expect_is "$shut" walls backup-cleanup
}

# The configuration changes while an upgrade is open, and no package tool runs: the unit is started as at boot.
#
# Row 79.
whole_fact "deb" a_configuration_that_changes_under_an_open_upgrade_moves_the_walls_of_its_unit
a_configuration_that_changes_under_an_open_upgrade_moves_the_walls_of_its_unit() {
  old_machine
  sh_ "mkdir -p /data/points /etc/openwatch/upgrade.conf.d && chmod 700 /data/points
    echo 'database_wait = \"1s\"' > /etc/openwatch/upgrade.conf.d/10-short.conf; systemctl stop postgresql.service 'postgresql@*'"
  upgrade_to 2.0.0; expect_mark there
  # No reload, and no package tool: the server that comes back starts the unit.
  sh_ "echo 'backup_dir = \"/data/points\"' > /etc/openwatch/upgrade.conf.d/own.conf; systemctl start postgresql.service"
  wait_for 240 sh_ '! test -e /var/lib/openwatch/upgrade/pending'
  expect_schema 0007; expect_is "$opened" walls upgrade
  expect_is 1 sh_ 'ls -d /data/points/*/manifest.json | wc -l'
}

# Nothing of the tool is left that could wait for the unit, and nothing tells it that the tool is gone.
#
# Rows 59, 66 and 70.
whole_fact "deb rpm" a_package_tool_that_is_killed_does_not_hurt_the_upgrade_and_a_retry_joins_it
a_package_tool_that_is_killed_does_not_hurt_the_upgrade_and_a_retry_joins_it() {
  old_machine; use_repo 2.0.0; hold_migrations
  sh_ "mkdir -p /etc/openwatch/upgrade.conf.d; echo 'lock_timeout = \"10min\"' > /etc/openwatch/upgrade.conf.d/fact.conf"
  ( upgrade_to 2.0.0 ) & local first=$!
  wait_for 120 waits Lock
  local before; before=$(m systemctl show -P MainPID openwatch-upgrade.service)
  # The tool, the script that it runs, and what that script has called.
  sh_ "pkill -KILL -x 'apt-get|dpkg|dnf|rpm'; pkill -KILL -f 'openwatch[. ](postinst|scriptlet)'; :"
  wait $first
  wait_for 60 sh_ "! pgrep -x 'dnf|rpm|apt-get|dpkg'"
  expect_is "$before" m systemctl show -P MainPID openwatch-upgrade.service
  waits Lock || fail "the unit has ended with the tool"
  # The same command again, or the tool's own repair, waits for the job that runs.
  if [ "$family" = deb ]; then m dpkg --configure -a > "$scratch/second" 2>&1 &
  else m sh -c 'dnf -y remove --duplicates || dnf -y reinstall openwatch' > "$scratch/second" 2>&1 & fi
  local second=$!
  wait_for 120 sh_ "pgrep -f 'openwatch scriptlet'"
  expect_is "$before" m systemctl show -P MainPID openwatch-upgrade.service
  let_go; wait $second || fail "the second run: $(cat "$scratch/second")"
  expect_upgraded; wait_for 60 http /readyz; expect_ready 2.0.0; expect_points 1
}

# What the kernel does where memory is short: the dump is killed, or the program; never both of them by systemd.
#
# Rows 16 and 68.
whole_fact "deb rpm" killed_for_want_of_memory_in_the_dump_the_data_is_unchanged_and_a_retry_works
killed_for_want_of_memory_in_the_dump_the_data_is_unchanged_and_a_retry_works() {
  old_machine; use_repo 2.0.0; remember_data
  expect_is continue m systemctl show -P OOMPolicy openwatch-upgrade.service
  # The client waits for this fact, but only with the dump of the unit: what preflight tries comes before the hook.
  sh_ 'mkdir -p /etc/openwatch/hooks.d/quiesce.after.d; cd /etc/openwatch/hooks.d/quiesce.after.d
    printf "#!/bin/sh\ntouch /run/hold-dump\n" > hold; chmod 755 hold
    cd /usr/lib/postgresql/*/bin; mv pg_dump pg_dump.real
    printf "#!/bin/sh\nwhile [ -e /run/hold-dump ]; do touch /run/dumping; sleep 0.1; done\nexec $PWD/pg_dump.real \"\$@\"\n" > pg_dump
    chmod 755 pg_dump' || fail "no client that waits"
  let_dump() { sh_ 'rm -f /run/hold-dump /run/dumping'; }
  ( upgrade_to 2.0.0; exit "$rc" ) & local tool=$!
  wait_for 240 sh_ 'test -e /run/dumping'
  sh_ 'pkill -KILL -x pg_dump'; wait $tool; rc=$?; let_dump
  [ "$family" = rpm ] || expect_failure
  out=$(cat "$scratch/out"); expect_out 'openwatch.service is (stopped|running)'
  expect_mark there; expect_schema 0005; expect_same_data; expect_points 0
  # This time the program itself.
  ( retry_package ) & tool=$!
  wait_for 240 sh_ 'test -e /run/dumping'
  sh_ 'kill -KILL "$(systemctl show -P MainPID openwatch-upgrade.service)"'; wait $tool; let_dump
  wait_for 60 sh_ '! pgrep -x pg_dump'
  expect_mark there; expect_schema 0005; expect_same_data; expect_points 0
  run openwatch status; expect_out 'interrupted'
  sh_ 'rm /etc/openwatch/hooks.d/quiesce.after.d/hold'
  retry_package; expect_rc 0; expect_upgraded; wait_for 60 http /readyz; expect_ready 2.0.0
}

# Every start of a gated unit asks for the upgrade unit, also where there is no upgrade to finish.
#
# Rows 30 and 31.
fact "deb" twelve_gated_units_started_in_a_row_leave_the_upgrade_unit_ready_for_work
twelve_gated_units_started_in_a_row_leave_the_upgrade_unit_ready_for_work() {
  old_machine
  sh_ 'cd /etc/systemd/system; for n in $(seq 12); do
      printf "[Service]\nExecStart=/bin/sleep infinity\n" > worker$n.service; mkdir worker$n.service.d
      sed s/NAME/openwatch/g /usr/share/openwatch/gate.conf > worker$n.service.d/50-start-gate.conf
    done; systemctl daemon-reload' || fail "twelve units"
  one_by_one() { sh_ "for n in \$(seq 12); do systemctl $1 worker\$n.service; done"; }
  # shellcheck disable=SC2317
  result() { m systemctl show -P Result "$1"; }
  one_by_one start || fail "they do not start"
  expect_is success result openwatch-upgrade.service; expect_is inactive m systemctl is-active openwatch-upgrade.service
  one_by_one stop
  # The upgrade that comes right behind them has its unit.
  upgrade_to 2.1.0; expect_failure; expect_out '0008_audit_trail'; expect_mark there
  # Each start behind the closed gate fails the unit again, for a reason that it tells.
  one_by_one start 2>/dev/null; expect_is '' sh_ "systemctl is-active 'worker*' | grep -x active"
  expect_is exit-code result openwatch-upgrade.service; expect_is success result openwatch-failure@openwatch-upgrade.service.service
  expect_is 0 sh_ "journalctl -q -b -o cat | grep -c 'Start request repeated too quickly' || :"
  # And what mends it is not made to wait.
  upgrade_to 3.0.0; expect_rc 0; expect_mark none; expect_ready 3.0.0
  one_by_one start || fail "they do not start after it"
}

# systemctl before 257 asks for root only where it is told to, and before 248 it cannot be told.
#
# Row 71.
whole_fact "deb rpm" a_shutdown_asked_for_in_the_middle_of_a_migration_is_held_off
a_shutdown_asked_for_in_the_middle_of_a_migration_is_held_off() {
  old_machine; use_repo 2.0.0; hold_migrations
  wait_for 60 m systemctl is-active systemd-logind.service
  sh_ "mkdir -p /etc/openwatch/upgrade.conf.d; echo 'lock_timeout = \"10min\"' > /etc/openwatch/upgrade.conf.d/fact.conf"
  ( upgrade_to 2.0.0 ) & local tool=$!
  wait_for 120 waits Lock
  wait_for 60 sh_ 'systemd-inhibit --list --no-pager | grep -q openwatch'
  run systemd-inhibit --list --no-pager; expect_out 'openwatch .*shutdown.*block'
  if [ "$suite" = bullseye ]; then say "systemd 247 lets root through unasked: only what holds it off is looked at"
  else
    run systemctl --check-inhibitors=yes poweroff
    expect_failure; expect_out 'inhibited by "?openwatch'
    expect_is running m systemctl is-system-running
    waits Lock || fail "the migration was cut off"
  fi
  let_go; wait $tool
  wait_for 120 sh_ '! test -e /var/lib/openwatch/upgrade/pending'
  expect_upgraded; wait_for 60 http /readyz; expect_ready 2.0.0
  run systemd-inhibit --list --no-pager; expect_no_out openwatch
}

# The shutdown cancels the start first and sends its signal after that: what looks like a service that does
# not come up is none, and nothing is put back for it.
#
# Rows 32 and 71.
fact "deb rpm" a_shutdown_while_the_service_starts_is_no_failure_and_the_next_boot_goes_on
a_shutdown_while_the_service_starts_is_no_failure_and_the_next_boot_goes_on() {
  old_machine; use_repo 2.0.0
  sh_ "mkdir -p /etc/openwatch/upgrade.conf.d; echo 'on_failure = \"restore\"' > /etc/openwatch/upgrade.conf.d/fact.conf
    mkdir -p /etc/systemd/system/openwatch.service.d; cd /etc/systemd/system/openwatch.service.d
    printf '[Service]\nTimeoutStartSec=infinity\nExecStartPre=/bin/sh -c \"while [ -e /run/slow ]; do sleep 1; done\"\n' > slow.conf
    systemctl daemon-reload; touch /run/slow"
  upgrade_to 2.0.0 & local tool=$!
  wait_for 120 sh_ '[ "$(systemctl show -P SubState openwatch.service)" = start-pre ]'
  expect_schema 0007
  reboot; wait $tool
  wait_for 60 sh_ '! test -e /var/lib/openwatch/upgrade/pending'
  wait_for 60 http /readyz; expect_ready 2.0.0; expect_schema 0007; expect_points 1
  expect_is 20000 sql 'select count(*) from customer_notes'
  run openwatch history; expect_no_out 'rolled'
  # What the package tool had not written down is finished by itself.
  if [ "$family" = deb ]; then run dpkg --configure -a; expect_rc 0; fi
  expect_installed 2.0.0; expect_mark none; expect_points 1; expect_ready 2.0.0
}
