# Facts about databases that are away, come back, or say no.
# shellcheck shell=bash disable=SC2154

deferred_upgrade() { # the server is down while the package is upgraded
  old_machine; remember_data
  sh_ "mkdir -p /etc/openwatch/upgrade.conf.d
    echo 'database_wait = \"1s\"' > /etc/openwatch/upgrade.conf.d/10-short.conf; systemctl stop postgresql.service 'postgresql@*'"
  upgrade_to 2.0.0
  # The old program goes on: it fits the schema that is there, and the gate lets no other one start.
  expect_rc 0; expect_installed 2.0.0; expect_mark there
}

# Row 1.
fact "deb rpm" an_upgrade_without_its_database_is_put_off_and_ends_when_it_is_back
an_upgrade_without_its_database_is_put_off_and_ends_when_it_is_back() {
  deferred_upgrade
  sh_ 'systemctl start postgresql.service'; wait_for 20 sql 'select 1'
  expect_same_data
  wait_for 70 sh_ '! test -e /var/lib/openwatch/upgrade/pending'
  expect_schema 0007; expect_points 1; wait_for 20 http /readyz; expect_ready 2.0.0
}

fact "deb rpm" a_start_of_the_service_finishes_an_upgrade_that_was_put_off
a_start_of_the_service_finishes_an_upgrade_that_was_put_off() {
  deferred_upgrade
  m systemctl stop openwatch.service
  sh_ 'systemctl start postgresql.service'; wait_for 20 sql 'select 1'
  run systemctl start openwatch.service
  expect_rc 0; expect_mark none; expect_schema 0007; expect_points 1; wait_for 20 http /readyz; expect_ready 2.0.0
}

# Row 1.
fact "deb rpm" an_upgrade_that_was_put_off_is_finished_by_the_next_boot
an_upgrade_that_was_put_off_is_finished_by_the_next_boot() {
  deferred_upgrade
  reboot
  wait_for 30 sh_ '! test -e /var/lib/openwatch/upgrade/pending'
  expect_schema 0007; expect_points 1; wait_for 20 http /readyz; expect_ready 2.0.0
}

# Row 2.
fact "deb rpm" a_wrong_password_is_refused_and_not_put_off
a_wrong_password_is_refused_and_not_put_off() {
  old_machine
  sh_ "sed -i 's/:$secret@/:not-it@/' /etc/openwatch/secrets.env"
  remember_all; upgrade_to 2.0.0
  expect_failure; expect_out 'password|authentication'; expect_no_out 'not-it'
  expect_installed 1.0.0; expect_service active; expect_is "$pid" main_pid; expect_schema 0005; expect_same_data
}

# Row 76.
fact "deb rpm" an_unbooted_system_leaves_the_mark_and_the_first_boot_does_the_work
an_unbooted_system_leaves_the_mark_and_the_first_boot_does_the_work() {
  old_machine; remember_data
  use_repo 2.0.0
  # As an image build sees it: no booted systemd.
  if [ "$family" = deb ]; then run unshare -m sh -c 'mount -t tmpfs tmpfs /run/systemd; apt-get -y upgrade'
  else run unshare -m sh -c 'mount -t tmpfs tmpfs /run/systemd; dnf -y update'; fi
  expect_rc 0; expect_installed 2.0.0; expect_mark there; expect_schema 0005; expect_same_data
  reboot
  wait_for 30 sh_ '! test -e /var/lib/openwatch/upgrade/pending'
  expect_schema 0007; wait_for 20 http /readyz; expect_ready 2.0.0
}
