# Facts about installing, reinstalling, removing and purging.
# shellcheck shell=bash disable=SC2154

fact "deb rpm" a_fresh_install_makes_user_directories_and_timer_and_migrates_nothing
a_fresh_install_makes_user_directories_and_timer_and_migrates_nothing() {
  fresh 2.0.0
  sh_ "echo enable-nothing > /dev/null"
  sql 'create database openwatch' postgres
  tool install openwatch
  expect_rc 0; expect_installed 2.0.0
  expect_is 'openwatch openwatch' sh_ 'echo $(id -un openwatch) $(id -gn openwatch)'
  expect_is '640 root openwatch /etc/openwatch/secrets.env
644 root root /etc/openwatch/upgrade.conf
755 root root /var/lib/openwatch
700 root root /var/lib/openwatch/backups
755 root root /var/lib/openwatch/upgrade' sh_ "cd /; stat -c '%a %U %G %n' /etc/openwatch/*.env \
    /etc/openwatch/*.conf /var/lib/openwatch /var/lib/openwatch/backups /var/lib/openwatch/upgrade"
  expect_is 'enabled
enabled
enabled' m systemctl is-enabled openwatch.service openwatch-upgrade.service openwatch-backup-cleanup.timer
  expect_service inactive
  expect_is active m systemctl is-active openwatch-backup-cleanup.timer
  expect_is inactive m systemctl is-active openwatch-backup-cleanup.service
  expect_is 0 sql "select count(*) from pg_tables where schemaname = 'public'"
  expect_mark none; expect_points 0
  reboot
  expect_is 0 sql "select count(*) from pg_tables where schemaname = 'public'"
}

fact "deb rpm" a_configured_install_serves_after_one_migrate
a_configured_install_serves_after_one_migrate() {
  old_machine
  expect_service active; expect_schema 0005; expect_points 0
  expect_ready 1.0.0
  reboot
  wait_for 20 http /readyz
  expect_ready 1.0.0
}

fact "deb rpm" the_migrate_command_of_libexec_is_openwatch_migrate
the_migrate_command_of_libexec_is_openwatch_migrate() {
  old_machine
  run /usr/libexec/openwatch/migrate --status
  expect_rc 0; expect_out 'current'
}

fact rpm a_preset_that_disables_everything_still_leaves_a_clean_install
a_preset_that_disables_everything_still_leaves_a_clean_install() {
  fresh 1.0.0
  sh_ "mkdir -p /etc/systemd/system-preset; echo 'disable *' > /etc/systemd/system-preset/10-site.preset"
  tool install openwatch
  expect_rc 0; expect_installed 1.0.0
  expect_is disabled m systemctl is-enabled openwatch-backup-cleanup.timer
  expect_is inactive m systemctl is-active openwatch-backup-cleanup.timer
}

# Row 82.
fact "deb rpm" a_reinstall_takes_no_restore_point_and_keeps_the_data
a_reinstall_takes_no_restore_point_and_keeps_the_data() {
  old_machine; remember_data
  reinstall
  expect_rc 0; expect_installed 1.0.0
  expect_ready 1.0.0; expect_points 0; expect_mark none; expect_same_data
}

fact "deb rpm" removal_keeps_restore_points_and_stops_the_service
removal_keeps_restore_points_and_stops_the_service() {
  old_machine
  run openwatch backup create; expect_rc 0; expect_points 1
  remove
  expect_rc 0; expect_out '/var/lib/openwatch/backups'
  expect_points 1; expect_service inactive
  expect_is inactive m systemctl is-active openwatch-backup-cleanup.timer
  # No broken link of ours stays where systemd looks for generators.
  expect_is none sh_ 'test -L /etc/systemd/system-generators/openwatch-generator && echo there || echo none'
  expect_is 20000 sql 'select count(*) from customer_notes'
  reboot
  expect_service inactive
}

# Another package is to take its place, and fails before it is unpacked.
fact deb a_removal_that_dpkg_takes_back_leaves_what_ran_running
a_removal_that_dpkg_takes_back_leaves_what_ran_running() {
  old_machine; wait_for 30 http /readyz
  sh_ 'mkdir -p /root/other/DEBIAN; cd /root/other/DEBIAN
    printf "%s\n" "Package: other" "Version: 1.0-1" "Architecture: all" "Maintainer: Other <other@example.org>" \
      "Conflicts: openwatch" "Replaces: openwatch" "Provides: openwatch" "Description: takes its place" > control
    printf "#!/bin/sh\nexit 1\n" > preinst; chmod 755 preinst; dpkg-deb --build /root/other /root/other.deb' || fail "no other package"
  run dpkg -i /root/other.deb
  expect_failure; expect_installed 1.0.0; expect_service active; expect_ready 1.0.0
  expect_is active m systemctl is-active openwatch-backup-cleanup.timer
}

fact "deb rpm" an_install_after_removal_serves_the_same_data
an_install_after_removal_serves_the_same_data() {
  old_machine; remember_data
  remove; expect_rc 0
  [ "$family" = deb ] || sh_ 'cp /etc/openwatch/secrets.env.rpmsave /etc/openwatch/secrets.env'
  tool install openwatch; expect_rc 0; expect_installed 1.0.0
  [ "$family" = deb ] || sh_ 'cp /etc/openwatch/secrets.env.rpmsave /etc/openwatch/secrets.env; chgrp openwatch /etc/openwatch/secrets.env'
  expect_points 0; expect_mark none; expect_same_data
  run systemctl start openwatch.service; expect_rc 0
  expect_ready 1.0.0
  expect_is active m systemctl is-active openwatch-backup-cleanup.timer
}

fact deb purge_keeps_restore_points_and_removes_configuration_and_state
purge_keeps_restore_points_and_removes_configuration_and_state() {
  old_machine
  run openwatch backup create; expect_rc 0
  run apt-get -y purge openwatch
  expect_rc 0; expect_out '/var/lib/openwatch/backups'; expect_points 1
  expect_is 'none none' sh_ 'test -e /etc/openwatch && echo conf || printf "none "; test -e /var/lib/openwatch/upgrade || test -e /var/lib/openwatch/public && echo state || echo none'
}

# What the operator keeps beside the configuration may be the only key to them.
#
# Row 83.
fact deb purge_keeps_what_may_open_the_restore_points_that_stay
purge_keeps_what_may_open_the_restore_points_that_stay() {
  old_machine
  run openwatch backup create; expect_rc 0
  sh_ 'mkdir -p /etc/openwatch/upgrade.conf.d /etc/openwatch/hooks.d/migrate.before.d; touch /etc/openwatch/upgrade.conf.d/own.conf
    echo key > /etc/openwatch/master.key; chmod 600 /etc/openwatch/master.key'
  run apt-get -y purge openwatch
  expect_rc 0; expect_points 1; expect_out '/etc/openwatch keeps what else was there'
  expect_is master.key m ls -A /etc/openwatch
  expect_is key m cat /etc/openwatch/master.key
}

# Row 83.
fact "deb rpm" a_removal_while_an_upgrade_is_pending_keeps_the_restore_point_and_says_where
a_removal_while_an_upgrade_is_pending_keeps_the_restore_point_and_says_where() {
  old_machine; remember_data
  upgrade_to 2.1.0; expect_failure; expect_mark there; expect_points 1
  remove
  expect_rc 0; expect_out '/var/lib/openwatch/backups'; expect_points 1; expect_same_data
  [ "$family" = deb ] || return 0
  run apt-get -y purge openwatch
  expect_rc 0; expect_out '/var/lib/openwatch/backups'; expect_points 1; expect_same_data
  expect_mark none
}

# Row 83.
fact deb purge_removes_restore_points_where_the_operator_has_said_so
purge_removes_restore_points_where_the_operator_has_said_so() {
  old_machine
  run openwatch backup create; expect_rc 0
  sh_ 'touch /etc/openwatch/purge-restore-points'
  run apt-get -y purge openwatch
  expect_rc 0
  expect_is none sh_ 'test -e /var/lib/openwatch && echo there || echo none'
  expect_is 20000 sql 'select count(*) from customer_notes'
}
