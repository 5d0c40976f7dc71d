# Facts about rehearsals: the next upgrade on the machine's own data, which are not touched.
# shellcheck shell=bash disable=SC2154

scratch_databases() { sql "select count(*) from pg_database where datname ~ 'rehearsal'" postgres; }

fact "deb rpm" the_candidate_is_rehearsed_on_a_copy_and_nothing_is_left
the_candidate_is_rehearsed_on_a_copy_and_nothing_is_left() {
  old_machine; remember_all
  use_repo 2.0.0; [ "$family" = deb ] || m dnf -y -q makecache
  run openwatch rehearse --candidate; expect_rc 0
  expect_out '  0006  '; expect_out '  0007  '; expect_out 'expected downtime: at least'
  expect_out 'the real database was not touched'
  expect_is 0 scratch_databases; expect_old_untouched
  upgrade_to 2.0.0; expect_rc 0; expect_ready 2.0.0
  # Now the machine has a history, and every part of the downtime is known.
  run openwatch rehearse --package "$(sh_ 'ls /repo/*/3.0.0/openwatch[_-]3.0.0-1[._]*' | grep "$family\$")"; expect_rc 0
  expect_out 'expected downtime: about'; expect_is 0 scratch_databases; expect_installed 2.0.0
}

fact "deb rpm" a_package_whose_migration_cannot_work_is_found_out_before_it_is_installed
a_package_whose_migration_cannot_work_is_found_out_before_it_is_installed() {
  old_machine; remember_all
  use_repo 2.1.0; [ "$family" = deb ] || m dnf -y -q makecache
  run openwatch rehearse --candidate; expect_rc 7; expect_out '0008_audit_trail'
  expect_out 'Do not upgrade to openwatch 2.1.0'
  expect_is 0 scratch_databases; expect_old_untouched
}
