# Facts about migrations that fail, and about the ways out.
# shellcheck shell=bash disable=SC2154

failed_upgrade() { old_machine; remember_data; upgrade_to 2.1.0; }

fact "deb rpm" a_failing_migration_stops_the_service_and_leaves_the_data_as_it_was
a_failing_migration_stops_the_service_and_leaves_the_data_as_it_was() {
  failed_upgrade
  expect_failure
  expect_out 'openwatch: .*0008_audit_trail'; expect_out '42703'
  expect_out '^ *state: '; expect_out '^ *hint: '
  if [ "$family" = deb ]; then expect_is 'iF 2.1.0-1' installed; else expect_is 'ii 2.1.0-1' installed; fi
  expect_is '' sh_ "systemctl is-active openwatch.service | grep -x active"
  expect_mark there; expect_schema 0005; expect_points 1; expect_same_data
}

# Row 72.
fact rpm rpm_alone_says_error_where_it_cannot_fail
rpm_alone_says_error_where_it_cannot_fail() {
  old_machine; remember_data
  file_upgrade_to 2.1.0
  expect_out 'scriptlet failed'; expect_out '0008_audit_trail'
  expect_mark there; expect_schema 0005; expect_same_data
  expect_is 'openwatch-2.1.0-1.x86_64' m rpm -q openwatch
}

# Row 30.
fact "deb rpm" a_start_by_hand_after_a_failure_is_refused_and_changes_nothing
a_start_by_hand_after_a_failure_is_refused_and_changes_nothing() {
  failed_upgrade
  run systemctl start openwatch.service
  expect_failure; expect_is '' sh_ "systemctl is-active openwatch.service | grep -x active"
  expect_mark there; expect_schema 0005; expect_same_data
}

# Row 30.
fact "deb rpm" a_reboot_after_a_failure_does_not_start_the_service
a_reboot_after_a_failure_does_not_start_the_service() {
  failed_upgrade
  reboot
  expect_is '' sh_ "systemctl is-active openwatch.service | grep -x active"
  expect_mark there; expect_schema 0005; expect_same_data
}

fact "deb rpm" the_next_version_with_the_mistake_corrected_upgrades
the_next_version_with_the_mistake_corrected_upgrades() {
  failed_upgrade
  upgrade_to 3.0.0
  expect_rc 0; expect_installed 3.0.0; expect_schema 0008; expect_mark none
  expect_ready 3.0.0
  expect_is 20000 sql 'select count(*) from customer_notes'
}

# The operator has made the table by hand; the cause is theirs and goes with `drop table`.
blocked_upgrade() {
  old_machine
  sql 'create table audit_trail (note text); alter table audit_trail owner to openwatch'
  remember_data; upgrade_to 3.0.0
  expect_failure; expect_mark there; expect_schema 0005; expect_same_data
}

# Row 73.
fact "deb rpm" the_package_tool_s_own_repair_finishes_once_the_cause_is_gone
the_package_tool_s_own_repair_finishes_once_the_cause_is_gone() {
  blocked_upgrade
  sql 'drop table audit_trail'
  retry_package
  expect_rc 0; expect_installed 3.0.0; expect_schema 0008; expect_mark none; expect_ready 3.0.0
}

# Row 91.
fact "deb rpm" the_command_that_the_message_prints_finishes_once_the_cause_is_gone
the_command_that_the_message_prints_finishes_once_the_cause_is_gone() {
  blocked_upgrade
  local printed; printed=$(sed -n 's/.*`\(openwatch upgrade[^`]*\|dpkg --configure -a\|dnf reinstall [^`]*\)`.*/\1/p' <<<"$out" | head -n1)
  [ -n "$printed" ] || fail "no command is printed"
  sql 'drop table audit_trail'
  run sh -c "yes | $printed"
  expect_rc 0; expect_schema 0008; expect_mark none; expect_ready 3.0.0
  retry_package; expect_rc 0; expect_installed 3.0.0; expect_ready 3.0.0
}

fact "deb rpm" the_old_package_can_come_back_after_a_failure
the_old_package_can_come_back_after_a_failure() {
  failed_upgrade
  local printed; printed=$(sed -n 's/.*to go back, `\([^`]*\)`.*/\1/p' <<<"$out" | head -n1)
  [ -n "$printed" ] || fail "no way back is printed"
  run sh -c "yes | $printed"
  expect_rc 0; expect_installed 1.0.0; expect_mark none; expect_schema 0005; expect_same_data
  expect_ready 1.0.0
}

fact "deb rpm" a_downgrade_after_a_good_upgrade_is_refused
a_downgrade_after_a_good_upgrade_is_refused() {
  old_machine; upgrade_to 2.0.0; expect_rc 0; remember_data; pid=$(main_pid)
  if [ "$family" = deb ]; then tool install --allow-downgrades openwatch=1.0.0-1; else tool downgrade openwatch; fi
  expect_failure; expect_out '1\.0\.0'
  expect_installed 2.0.0; expect_is "$pid" main_pid; expect_ready 2.0.0; expect_same_data; expect_mark none
}

fact "deb rpm" an_allowed_downgrade_does_not_run_on_the_newer_schema
an_allowed_downgrade_does_not_run_on_the_newer_schema() {
  old_machine; upgrade_to 2.0.0; expect_rc 0; remember_data
  documented "downgrade allowed"
  if [ "$family" = deb ]; then tool install --allow-downgrades openwatch=1.0.0-1; else tool downgrade openwatch; fi
  expect_is 1.0.0-1 sh_ "dpkg-query -W -f '\${Version}' openwatch 2>/dev/null || rpm -q --qf '%{VERSION}-%{RELEASE}' openwatch"
  expect_same_data
  m systemctl restart openwatch.service 2>/dev/null
  expect_is '' sh_ "systemctl is-active openwatch.service | grep -x active"
}

fact "deb rpm" the_way_back_that_the_refusal_names_leads_back
the_way_back_that_the_refusal_names_leads_back() {
  old_machine; remember_data; upgrade_to 2.0.0; expect_rc 0
  if [ "$family" = deb ]; then tool install --allow-downgrades openwatch=1.0.0-1; else tool downgrade openwatch; fi
  expect_failure
  expect_out 'restore point .* has the data of version 1\.0\.0'
  local printed; printed=$(sed -n 's/.*`\(openwatch rollback [^`]*\)`.*/\1/p' <<<"$out" | head -n1)
  [ -n "$printed" ] || fail "no way back is printed"
  [ "$family" = rpm ] || m dpkg --configure -a
  run sh -c "$printed"; [ "$rc" = 0 ] || run sh -c "$printed --yes"
  expect_rc 0; expect_installed 1.0.0; expect_schema 0005; expect_mark none; expect_same_data; expect_ready 1.0.0
}
