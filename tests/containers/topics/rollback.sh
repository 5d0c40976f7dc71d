# Facts about the way back: data and package together.
# shellcheck shell=bash disable=SC2154

expect_back() { # data, package, service and gate are those of 1.0.0, and nothing is left to be done
  expect_installed 1.0.0; expect_schema 0005; expect_mark none; expect_same_data
  expect_is none sh_ 'test -e /var/lib/openwatch/upgrade/rollback && echo there || echo none'
  expect_ready 1.0.0
}

# Rows 57, 58 and 62.
fact "deb rpm" a_failed_upgrade_goes_back_by_one_command_and_is_not_tried_again
a_failed_upgrade_goes_back_by_one_command_and_is_not_tried_again() {
  failed_upgrade; expect_failure
  run openwatch rollback
  expect_rc 0; expect_out 'back at version 1\.0\.0'; expect_back
  expect_is 700 sh_ 'stat -c %a /var/lib/openwatch/packages'
  upgrade_to 2.1.0
  expect_out '2\.1\.0-1 was rolled back here'; expect_ready 1.0.0; expect_schema 0005
  m openwatch status >"$scratch/out" 2>&1; grep -q 'rolled back: *2\.1\.0' "$scratch/out" || fail "status says nothing"
  # The next version is another one.
  [ "$family" = rpm ] || m dpkg --configure -a
  upgrade_to 2.0.0; [ "$family" = rpm ] || run apt-get -y -f install
  expect_installed 2.0.0; expect_ready 2.0.0
}

# The package tool waits for a file to go, so that the machine dies between the halves.
hanging_tools() {
  sh_ 'touch /hang; for tool in apt-get dnf; do
    real=$(command -v $tool) || continue
    printf "#!/bin/sh\ncase \" \$* \" in *simulate*|*downloadonly*) ;; *\" install \"*|*\" downgrade \"*) while [ -e /hang ]; do sleep 0.1; done ;; esac\nexec %s \"\$@\"\n" \
      "$real" > /usr/local/sbin/$tool; chmod 755 /usr/local/sbin/$tool; done'
}
data_is_back() { sh_ 'grep -q restored /var/lib/openwatch/upgrade/rollback && grep -q \"step\":\"package\" /var/lib/openwatch/upgrade/journal.json'; }
is_done() { sh_ '! test -e /var/lib/openwatch/upgrade/rollback && systemctl is-active --quiet openwatch.service'; }

# Rows 57, 67 and 68.
fact "deb rpm" a_machine_that_dies_between_the_halves_finishes_at_the_next_boot
a_machine_that_dies_between_the_halves_finishes_at_the_next_boot() {
  old_machine; remember_data; upgrade_to 2.0.0; expect_rc 0
  hanging_tools
  sh_ 'systemd-run --quiet --collect openwatch rollback --yes'
  wait_for 80 data_is_back
  # The boot is not done before the tool goes on: it is not waited for.
  "$lab" kill "$machine" >/dev/null 2>&1; LAB_TIMEOUT=1 "$lab" start "$machine" >/dev/null 2>&1
  # Old data, new program: nothing starts on it, by whatever hand.
  wait_for 60 m systemctl is-active postgresql
  expect_schema 0005; expect_mark there; expect_installed 2.0.0
  expect_is '' sh_ 'systemctl is-active openwatch.service | grep -x active'
  run openwatch upgrade; expect_failure
  sh_ 'rm /hang'
  wait_for 80 is_done
  wait_for 20 http /readyz; expect_back
}

# Row 59.
fact "deb rpm" where_it_is_allowed_the_older_package_follows_when_the_package_tool_has_ended
where_it_is_allowed_the_older_package_follows_when_the_package_tool_has_ended() {
  old_machine; remember_data
  sh_ "printf 'on_failure = \"restore\"\nrollback_package = true\n' > /etc/openwatch/upgrade.conf.d/back.conf" ||
    sh_ "mkdir -p /etc/openwatch/upgrade.conf.d; printf 'on_failure = \"restore\"\nrollback_package = true\n' > /etc/openwatch/upgrade.conf.d/back.conf"
  upgrade_to 2.1.0
  expect_failure; expect_out 'follows when the package tool has ended'
  wait_for 80 is_done
  wait_for 20 http /readyz; expect_back
}

# Row 58.
fact "deb rpm" a_package_that_is_nowhere_is_told_before_the_upgrade_and_refuses_the_rollback
a_package_that_is_nowhere_is_told_before_the_upgrade_and_refuses_the_rollback() {
  old_machine
  sh_ 'rm -rf /etc/apt/sources.list.d/* /etc/apt/sources.list /etc/yum.repos.d/* /var/cache/dnf /var/cache/apt/archives/*.deb /var/lib/openwatch/packages
    ! command -v apt-get >/dev/null || apt-get -qq update'
  run openwatch preflight
  expect_rc 0; expect_out 'a rollback would bring back the data only'
  file_upgrade_to 2.0.0; expect_rc 0; expect_ready 2.0.0; remember_all
  run openwatch rollback --yes
  expect_rc 5; expect_out 'there is no package of openwatch 1\.0\.0'; expect_ready 2.0.0; expect_same_data
  # The file at hand is the way, and the command that is printed can be pasted, whatever the file is called.
  sh_ "mkdir '/root/old ones'; cp /repo/$([ "$family" = deb ] && echo apt || echo rpm)/1.0.0/openwatch[_-]1.0.0-1[._]* '/root/old ones/'"
  run sh -c "openwatch rollback --package '/root/old ones/'*"; expect_rc 5
  run sh -c "$(sed -n 's/.*To do it, run `\([^`]*\)`.*/\1/p' "$scratch/out" | tail -n 1)"
  expect_rc 0; expect_installed 1.0.0; expect_schema 0005; expect_mark none; expect_ready 1.0.0
}

# What a failure says after `to go back`, to be run as printed.
the_way_back() { sed -nE 's/^ *hint:.*; to go back, `([^`]+)`.*/\1/p' "$scratch/out" | tail -n 1; }

# Rows 57 and 58.
fact "deb rpm" the_way_back_that_a_failure_prints_works_as_printed
the_way_back_that_a_failure_prints_works_as_printed() {
  local file back
  failed_upgrade; expect_failure
  back=$(the_way_back); [ -n "$back" ] || fail "no way back was printed"
  run sh -c "yes | $back"; expect_rc 0
  [ "$back" = 'openwatch rollback' ] || run openwatch upgrade --retry
  expect_installed 1.0.0; expect_schema 0005; expect_mark none; expect_ready 1.0.0
  # The same where no package source has the older package, and no copy is here: its file has to be named.
  "$lab" down "$machine" >/dev/null 2>&1; old_machine; remember_data
  sh_ 'rm -rf /etc/apt/sources.list.d/* /etc/apt/sources.list /etc/yum.repos.d/* /var/cache/dnf /var/cache/apt/archives/*.deb /var/lib/openwatch/packages
    ! command -v apt-get >/dev/null || apt-get -qq update'
  file_upgrade_to 2.1.0
  expect_out 'to go back, .openwatch rollback --package FILE., where FILE is the package openwatch 1\.0\.0'
  file=$(sh_ "ls /repo/$([ "$family" = deb ] && echo apt || echo rpm)/1.0.0/openwatch[_-]1.0.0-1[._]*")
  back=$(the_way_back); [ -n "$back" ] || fail "no way back was printed"
  run sh -c "yes | ${back/FILE/$file}"; expect_rc 0; expect_back
}

# The units are ordered after the one that the rollback runs in.
# Rows 57 and 61.
whole_fact "deb rpm" a_rollback_that_finds_no_room_for_its_copy_has_the_service_back_at_once
a_rollback_that_finds_no_room_for_its_copy_has_the_service_back_at_once() {
  old_machine; upgrade_to 2.0.0; expect_rc 0
  sql "create table kept_by_hand as select n, repeat('x', 900) from generate_series(1, 9000) n" >/dev/null ||
    fail "no rows were written"
  remember_data
  sh_ "mkdir -p /etc/openwatch/upgrade.conf.d; printf 'reserve = \"900TiB\"\n' > /etc/openwatch/upgrade.conf.d/room.conf"
  run openwatch rollback --yes
  expect_rc 6; expect_out 'the units are as they were'
  expect_installed 2.0.0; expect_mark none; expect_same_data; wait_for 20 http /readyz; expect_ready 2.0.0
}

# Row 57.
whole_fact "deb rpm" a_unit_that_asks_the_gate_itself_is_started_by_the_rollback
a_unit_that_asks_the_gate_itself_is_started_by_the_rollback() {
  old_machine; remember_data
  sh_ "mkdir -p /etc/systemd/system/openwatch.service.d
    printf '[Service]\nExecCondition=+/usr/bin/openwatch gate --wait\n' > /etc/systemd/system/openwatch.service.d/50-gate.conf
    systemctl daemon-reload"
  upgrade_to 2.0.0; expect_rc 0; expect_ready 2.0.0
  run openwatch rollback --yes
  expect_rc 0; expect_out 'back at version 1\.0\.0'; expect_back
}

hangs_in_dpkg() { sh_ 'test -e /hanging'; }

# Rows 67 and 68.
whole_fact "deb" a_machine_that_dies_while_the_package_tool_unpacks_finishes_at_the_next_boot
a_machine_that_dies_while_the_package_tool_unpacks_finishes_at_the_next_boot() {
  old_machine; remember_data; upgrade_to 2.0.0; expect_rc 0
  # The script that dpkg runs when the files of the older package are there, and the newer is not gone.
  sh_ "touch /hang; sed -i '1a while [ -e /hang ]; do touch /hanging; sleep 0.1; done' /var/lib/dpkg/info/openwatch.postrm"
  sh_ 'systemd-run --quiet --collect openwatch rollback --yes'
  wait_for 80 hangs_in_dpkg
  sh_ 'sync'
  "$lab" kill "$machine" >/dev/null 2>&1; LAB_TIMEOUT=1 "$lab" start "$machine" >/dev/null 2>&1
  wait_for 60 m systemctl is-active postgresql
  sh_ 'rm /hang'
  wait_for 80 is_done
  wait_for 20 http /readyz; expect_back
}
