# Facts about upgrades that cannot have a restore point, and about retention.
# shellcheck shell=bash disable=SC2154

# Row 8.
fact "deb rpm" too_little_room_for_a_restore_point_refuses_before_anything_changes
too_little_room_for_a_restore_point_refuses_before_anything_changes() {
  old_machine
  sh_ 'mount -t tmpfs -o size=256k,mode=700 tmpfs /var/lib/openwatch/backups'
  remember_all; upgrade_to 2.0.0
  expect_failure; expect_out 'openwatch: .*(space|room)'
  expect_old_untouched
}

# Row 14.
fact "deb rpm" a_missing_pg_dump_refuses_before_anything_changes
a_missing_pg_dump_refuses_before_anything_changes() {
  old_machine
  sh_ 'for f in /usr/bin/pg_dump /usr/lib/postgresql/*/bin/pg_dump; do mv $f $f.away; done'
  m su postgres -c 'true'
  pid=$(main_pid); upgrade_to 2.0.0
  expect_failure; expect_out 'openwatch: .*pg_dump'
  sh_ 'for f in /usr/bin/pg_dump /usr/lib/postgresql/*/bin/pg_dump; do mv $f.away $f; done'
  expect_installed 1.0.0; expect_service active; expect_is "$pid" main_pid
  expect_schema 0005; expect_mark none; expect_points 0
}

# Row 18.
fact "deb rpm" a_table_that_cannot_be_read_refuses_before_anything_changes
a_table_that_cannot_be_read_refuses_before_anything_changes() {
  old_machine
  sql 'create table sealed_letters (body text)'
  remember_all; upgrade_to 2.0.0
  expect_failure; expect_out 'sealed_letters'
  expect_old_untouched
  sql 'drop table sealed_letters'; remember_data
  upgrade_to 2.0.0; expect_rc 0; expect_installed 2.0.0; expect_ready 2.0.0
}

fact "deb rpm" a_dump_that_breaks_off_changes_nothing_and_a_retry_finishes
a_dump_that_breaks_off_changes_nothing_and_a_retry_finishes() {
  old_machine; remember_data
  # Every pg_dump answers questions about itself and tries definitions, and breaks off at the rows.
  sh_ 'for f in /usr/lib/postgresql/*/bin/pg_dump; do mv $f $f.real
    printf "#!/bin/sh\ncase \$* in -V|--version|*--schema-only*) exec %s.real \"\$@\";; esac\necho \"pg_dump: error: connection was cut\" >&2; exit 1\n" $f > $f
    chmod 755 $f; done'
  upgrade_to 2.0.0
  expect_failure; expect_out 'connection was cut'
  sh_ 'for f in /usr/lib/postgresql/*/bin/pg_dump; do mv $f.real $f; done'
  expect_same_data; expect_schema 0005; expect_points 0; expect_is 0 stray_points
  retry_package
  expect_rc 0; expect_installed 2.0.0; expect_mark none; expect_points 1; expect_ready 2.0.0
}

# Row 15.
fact "deb rpm" a_disk_that_fills_during_the_dump_changes_nothing_and_a_retry_finishes
a_disk_that_fills_during_the_dump_changes_nothing_and_a_retry_finishes() {
  old_machine; remember_data
  sh_ 'mount -t tmpfs -o size=400M,mode=700 tmpfs /var/lib/openwatch/backups'
  # As large when asked, and full when it comes to dumping: somebody else fills it meanwhile.
  sh_ 'systemd-run --quiet --unit=filler sh -c "until ls -d /var/lib/openwatch/backups/.partial-*; do sleep 0.01; done
      dd if=/dev/zero of=/var/lib/openwatch/backups/filler bs=64k; touch /run/filled" 2>/dev/null
    for f in /usr/lib/postgresql/*/bin/pg_dump; do mv $f $f.real
    printf "#!/bin/sh\ncase \$* in -V|--version|*--schema-only*) ;; *) until [ -e /run/filled ]; do sleep 0.05; done;; esac\nexec %s.real \"\$@\"\n" $f > $f
    chmod 755 $f; done'
  upgrade_to 2.0.0
  expect_failure; expect_out 'No space left'
  sh_ 'for f in /usr/lib/postgresql/*/bin/pg_dump; do mv $f.real $f; done'
  expect_same_data; expect_schema 0005; expect_points 0; expect_is 0 stray_points
  sh_ 'umount /var/lib/openwatch/backups'
  retry_package
  expect_rc 0; expect_installed 2.0.0; expect_mark none; expect_points 1; expect_ready 2.0.0
}

# Row 84.
fact "deb rpm" the_timer_s_job_prunes_and_keeps_the_last_good_restore_point
the_timer_s_job_prunes_and_keeps_the_last_good_restore_point() {
  old_machine
  local n; for n in 1 2 3; do run openwatch backup create; expect_rc 0; sh_ 'sleep 1.1'; done
  expect_points 3
  sh_ "mkdir -p /etc/openwatch/upgrade.conf.d
    printf 'backup_retention_days = 1\nbackup_keep = 1\n' > /etc/openwatch/upgrade.conf.d/50-short.conf"
  run systemctl start openwatch-backup-cleanup.service; expect_rc 0
  expect_points 3
  # All are years old now. The newest good one stays, the others go; a damaged one never counts as good.
  local newest; newest=$(sh_ 'ls /var/lib/openwatch/backups | sort | tail -n 1')
  sh_ 'sed -i -E "s/(\"created\": *\")20[0-9]{2}/\12019/" /var/lib/openwatch/backups/*/manifest.json'
  run systemctl start openwatch-backup-cleanup.service; expect_rc 0
  expect_points 1; expect_is "$newest" m ls /var/lib/openwatch/backups
}

fact deb the_timer_is_daily_persistent_and_spread
the_timer_is_daily_persistent_and_spread() {
  old_machine
  run systemctl cat openwatch-backup-cleanup.timer
  expect_out '^OnCalendar=daily'; expect_out '^Persistent=true'; expect_out '^RandomizedDelaySec='
  expect_is 1 sh_ 'systemctl list-timers --no-legend openwatch-backup-cleanup.timer | wc -l'
}
