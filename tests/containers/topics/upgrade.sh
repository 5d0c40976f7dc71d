# Facts about upgrades that go well, and about what of the machine they respect.
# shellcheck shell=bash disable=SC2154

expect_upgraded() {
  expect_installed 2.0.0; expect_schema 0007; expect_mark none; expect_points 1
  expect_is 20000 sql 'select count(*) from customer_notes'
}

fact "deb rpm" one_command_takes_a_restore_point_migrates_and_serves
one_command_takes_a_restore_point_migrates_and_serves() {
  old_machine; remember_all
  upgrade_to 2.0.0
  expect_rc 0; expect_upgraded; expect_ready 2.0.0
  [ "$(main_pid)" != "$pid" ] || fail "the old program still runs"
  expect_is '700 root
700 root' sh_ "stat -c '%a %U' /var/lib/openwatch/backups /var/lib/openwatch/backups/*"
  expect_is '' sh_ "find /var/lib/openwatch/backups -type f ! -perm 600"
  run openwatch backup verify; expect_rc 0
  # The service may not read restore points, and shows what root left of them.
  expect_is '755 644' sh_ "cd /var/lib/openwatch; echo \$(stat -c %a public public/restore-points.json)"
  expect_out_of '1 good restore point' "$(http /restore-points)"
  expect_out_of '^openwatch_last_run_outcome{app="openwatch",outcome="ok"} 1' "$(http /metrics)"
  reboot; wait_for 20 http /readyz; expect_ready 2.0.0; expect_points 1
}

fact "deb rpm" the_package_tool_alone_on_a_file_upgrades_as_well
the_package_tool_alone_on_a_file_upgrades_as_well() {
  old_machine
  file_upgrade_to 2.0.0
  expect_rc 0; expect_upgraded; expect_ready 2.0.0
}

fact "deb rpm" with_nothing_pending_there_is_no_dump_and_the_new_program_runs
with_nothing_pending_there_is_no_dump_and_the_new_program_runs() {
  old_machine; remember_all
  upgrade_to 1.0.1
  expect_rc 0; expect_installed 1.0.1; expect_points 0; expect_mark none; expect_schema 0005
  expect_ready 1.0.1; expect_same_data
}

# Row 32.
fact "deb rpm" a_service_that_the_operator_stopped_stays_stopped
a_service_that_the_operator_stopped_stays_stopped() {
  old_machine
  m systemctl stop openwatch.service
  upgrade_to 2.0.0
  expect_rc 0; expect_upgraded; expect_service inactive
}

# Row 31.
fact "deb rpm" a_masked_service_is_no_error_and_stays_masked
a_masked_service_is_no_error_and_stays_masked() {
  old_machine
  m systemctl stop openwatch.service; m systemctl mask openwatch.service 2>/dev/null
  upgrade_to 2.0.0
  expect_rc 0; expect_upgraded; expect_service inactive
  expect_is masked m systemctl is-enabled openwatch.service
}

# Row 32.
fact "deb rpm" a_disabled_timer_stays_disabled_and_an_enabled_one_is_running
a_disabled_timer_stays_disabled_and_an_enabled_one_is_running() {
  old_machine
  m systemctl disable --now openwatch-backup-cleanup.timer 2>/dev/null
  upgrade_to 2.0.0
  expect_rc 0
  expect_is disabled m systemctl is-enabled openwatch-backup-cleanup.timer
  expect_is inactive m systemctl is-active openwatch-backup-cleanup.timer
  m systemctl enable openwatch-backup-cleanup.timer 2>/dev/null
  upgrade_to 3.0.0
  expect_rc 0
  expect_is active m systemctl is-active openwatch-backup-cleanup.timer
}

fact "deb rpm" edited_configuration_is_kept
edited_configuration_is_kept() {
  old_machine
  sh_ "echo 'backup_keep = 7' >> /etc/openwatch/upgrade.conf; sha256sum /etc/openwatch/* > /root/before"
  upgrade_to 2.0.0
  expect_rc 0; expect_upgraded
  run sha256sum --quiet -c /root/before; expect_rc 0
  expect_is '640 root openwatch' sh_ "stat -c '%a %U %G' /etc/openwatch/secrets.env"
}

fact "deb rpm" an_upgrade_through_peer_authentication_needs_no_password
an_upgrade_through_peer_authentication_needs_no_password() {
  old_machine
  sh_ "echo 'OPENWATCH_DATABASE_DSN=postgresql:///openwatch?host=/run/postgresql' > /etc/openwatch/secrets.env
    systemctl restart openwatch.service" || fail "restart"
  upgrade_to 2.0.0
  expect_rc 0; expect_upgraded; expect_ready 2.0.0
  run openwatch backup verify; expect_rc 0
}

# Somebody keeps the history from being written until it is let go: a run stays inside its migrations.
keep_history() {
  m runuser postgres -c "psql -qX openwatch -c begin -c 'lock table openwatch_schema_history in share mode' \
    -c '\\! touch /tmp/kept; until test -e /tmp/let-go; do sleep 0.1; done'" >/dev/null 2>&1 &
  wait_for 20 sh_ 'test -e /tmp/kept'
}
let_history_go() { sh_ 'touch /tmp/let-go'; }

fact "deb rpm" two_upgrades_at_once_end_as_one
two_upgrades_at_once_end_as_one() {
  old_machine
  use_repo 2.0.0
  keep_history
  upgrade_to 2.0.0 & local first=$!
  wait_for 20 sh_ 'test -e /var/lib/openwatch/upgrade/pending'
  m openwatch upgrade > "$scratch/second" 2>&1 & local second=$!
  wait_for 20 sh_ 'pgrep -xf "openwatch upgrade"'
  let_history_go
  wait $second; local rc=$?
  wait $first
  case $rc in 0 | 75) ;; *) fail "the second run ended with $rc: $(cat "$scratch/second")" ;; esac
  wait_for 20 sh_ '! test -e /var/lib/openwatch/upgrade/pending'
  wait_for 20 http /readyz
  expect_upgraded; expect_ready 2.0.0
}

# Row 66.
fact "deb rpm" a_killed_package_tool_does_not_stop_the_upgrade
a_killed_package_tool_does_not_stop_the_upgrade() {
  old_machine
  keep_history
  ( upgrade_to 2.0.0 ) & local tool=$!
  wait_for 20 sh_ 'test "$(systemctl is-active openwatch-upgrade.service)" = activating'
  sh_ "pkill -KILL -x 'dnf|rpm|apt-get|dpkg'"; let_history_go; wait $tool
  wait_for 30 sh_ 'test "$(systemctl is-active openwatch-upgrade.service)" = inactive'
  expect_mark none; expect_schema 0007; wait_for 20 http /readyz
  if [ "$family" = deb ]; then run dpkg --configure -a; else run sh -c 'dnf -y remove --duplicates || dnf -y reinstall openwatch'; fi
  expect_rc 0; expect_upgraded; expect_ready 2.0.0
}

# Only sid has the fifth dnf beside the fourth.
[ "$suite" != sid ] || fact rpm dnf5_upgrades_and_fails_as_dnf_does
dnf5_upgrades_and_fails_as_dnf_does() {
  old_machine
  use_repo 2.0.0; run dnf5 -y --refresh update
  expect_rc 0; expect_upgraded; expect_ready 2.0.0
  use_repo 2.1.0; run dnf5 -y --refresh update
  expect_failure; expect_out '0008_audit_trail'; expect_mark there; expect_schema 0007
}
