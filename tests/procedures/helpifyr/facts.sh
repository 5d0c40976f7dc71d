# Chapter 4 of docs/PROCEDURES.md: a comparable baseline, the order and the boundary told before, the stop at a
# failed boundary, drift before and after.
# shellcheck shell=bash disable=SC2154

helpifyr_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# helpifyr_package VERSION [LINE OF SQL]: the package of that version with the probes of this procedure, and a
# migration more.
helpifyr_package() {
  m sh -c 'cat > /root/upgrade.conf' < "$helpifyr_dir/upgrade.conf" || fail "upgrade.conf"
  sh_ "rm -rf /root/tree; dpkg-deb -R /repo/apt/$1/openwatch_$1-1_*.deb /root/tree && cd /root/tree
    cp /root/upgrade.conf usr/share/openwatch/upgrade.conf
    [ -z '${2:-}' ] || echo '${2:-};' > usr/share/openwatch/migrations/0008_of_this_procedure.sql
    find usr -type f -exec md5sum {} + > DEBIAN/md5sums
    dpkg-deb -Znone --build /root/tree /root/openwatch-$1.deb" || fail "package $1"
}
helpifyr_machine() { # 1.0.0 with the probes, and a user who does something
  old_machine
  sh_ "printf '%s\n' '#!/bin/sh' 'python3 -c \"import json, urllib.request as u
d = json.load(u.urlopen(\\\"http://127.0.0.1:8480/api/v1/upgrade\\\", timeout=10))
assert d[\\\"databases\\\"][0][\\\"state\\\"] == \\\"current\\\", d\"' > /usr/local/bin/user-path; chmod 755 /usr/local/bin/user-path"
  helpifyr_package 1.0.0; run dpkg -i /root/openwatch-1.0.0.deb; expect_rc 0
  # The same version again restarts nothing; the program on disk is another file now.
  expect_is 'program openwatch.service' drift; sh_ 'systemctl restart openwatch.service'; expect_ready 1.0.0
}
drift() { m openwatch status --drift --json 2>/dev/null | python3 -c 'import json, sys
for f in json.load(sys.stdin)["drift"]: print(f["area"], f["subject"])'; }
expect_no_drift() { expect_is '' drift; }

fact "deb" before_and_after_an_upgrade_the_same_questions_have_the_same_answers
before_and_after_an_upgrade_the_same_questions_have_the_same_answers() {
  helpifyr_machine; helpifyr_package 2.0.0; remember_data
  run openwatch baseline record before; expect_rc 0
  run openwatch status --drift; expect_rc 0; expect_out 'nothing has drifted'; expect_no_drift
  expect_out_of '"runs":true' "$(http /api/v1/platform/services)"
  expect_out_of '"ready":true' "$(http /api/v1/observability/readiness)"
  # What moves first, what counts as failed, until where going back is free: said, and nothing done.
  run openwatch upgrade --plan --package /root/openwatch-2.0.0.deb
  expect_rc 0; expect_out '1\.0\.0-1 -> 2\.0\.0-1'; expect_out '2\. package: 1\.0\.0-1 -> 2\.0\.0-1'
  expect_out 'failed when a statement fails.*exit 7'; expect_out 'going back: free until the migrations are committed'
  expect_installed 1.0.0; expect_schema 0005; expect_points 0
  run dpkg -i /root/openwatch-2.0.0.deb; expect_rc 0
  run openwatch baseline compare before; expect_rc 0; expect_out 'probes +(passed|same)'
  expect_no_drift; expect_ready 2.0.0
  m /usr/local/bin/user-path || fail "the user path"
}

fact "deb" the_run_stops_at_the_failed_boundary_says_so_and_goes_back
the_run_stops_at_the_failed_boundary_says_so_and_goes_back() {
  helpifyr_machine; remember_data
  sh_ "mkdir -p /etc/openwatch/upgrade.conf.d; echo 'baseline_stop = [\"rows\"]' > /etc/openwatch/upgrade.conf.d/stop.conf"
  helpifyr_package 2.0.0 'delete from customer_notes where id > 10'
  run openwatch baseline record before; expect_rc 0
  run openwatch upgrade --plan --package /root/openwatch-2.0.0.deb
  expect_out 'the comparison with the baseline fails: rows'
  run dpkg -i /root/openwatch-2.0.0.deb; expect_failure
  expect_out 'table public\.customer_notes had 20000 rows, now 10'; expect_mark there
  expect_is '' sh_ 'systemctl is-active openwatch.service | grep -x active'
  # Nothing went on behind the boundary, and what is so is told with the way out.
  run openwatch status --drift; expect_rc 0; expect_out 'openwatch\.service'; expect_out 'The gate is closed: run'
  run openwatch rollback --yes --package /root/openwatch-1.0.0.deb; expect_rc 0
  expect_installed 1.0.0; expect_schema 0005; expect_same_data; expect_ready 1.0.0; expect_mark none
  run openwatch baseline compare before; expect_rc 0; expect_out 'probes +(passed|same)'
  # The failed run is still to be seen in the state of its unit, and that is all.
  expect_is 'units openwatch-upgrade.service' drift
  sh_ 'systemctl reset-failed openwatch-upgrade.service'; expect_no_drift
}

# Everything that drifts on a real machine, and what is printed mends it.
whole_fact "deb rpm" what_has_drifted_is_named_and_the_printed_command_mends_it
what_has_drifted_is_named_and_the_printed_command_mends_it() {
  old_machine; upgrade_to 2.0.0; expect_rc 0; expect_ready 2.0.0; expect_no_drift
  # The program on disk is another file than the one that runs.
  sh_ 'cp /usr/bin/openwatch /usr/bin/openwatch.new && mv /usr/bin/openwatch.new /usr/bin/openwatch'
  sh_ 'echo "# by hand" >> /usr/share/openwatch/gate.conf; rm /usr/lib/tmpfiles.d/openwatch.conf
    systemctl stop openwatch-backup-cleanup.timer
    mkdir -p /etc/systemd/system/openwatch.service.d
    printf "[Service]\nNice=1\n" > /etc/systemd/system/openwatch.service.d/nice.conf
    echo "# by hand" >> /etc/openwatch/upgrade.conf; : > /etc/openwatch/upgrade.conf.rpmnew'
  sql 'create index by_hand on customer_notes (note)'
  drift > "$scratch/drifted"
  for what in 'files /usr/share/openwatch/gate.conf' 'files /usr/lib/tmpfiles.d/openwatch.conf' \
    'program openwatch.service' 'units openwatch.service' 'units openwatch-backup-cleanup.timer' \
    'schema main: index public.by_hand' 'configuration /etc/openwatch/upgrade.conf'; do
    grep -qxF "$what" "$scratch/drifted" || fail "not told: $what"
  done
  run openwatch status --drift
  expect_out 'other files on disk than systemd has read'; expect_out 'edited'
  # Each command as it is printed; what is merged or dropped by hand is the operator's.
  sql 'drop index by_hand'; sh_ 'rm /etc/openwatch/upgrade.conf.rpmnew'
  # shellcheck disable=SC2016
  m openwatch status --drift --json 2>/dev/null | python3 -c 'import json, re, sys
for f in json.load(sys.stdin)["drift"]: print(re.search("`(.*?)`", f["mend"]).group(1))' | sort -u > "$scratch/mend"
  while read -r line; do
    # A reinstalled package has no downloads to ask about.
    run sh -c "export DEBIAN_FRONTEND=noninteractive; $(sed 's/^apt-get/apt-get -y/; s/^dnf/dnf -y/' <<<"$line")"; expect_rc 0
  done < "$scratch/mend"
  expect_no_drift; expect_ready 2.0.0
  run openwatch status --drift; expect_out 'changed by /etc/systemd/system/openwatch\.service\.d/nice\.conf'
}

whole_fact "deb rpm" what_the_package_tool_was_told_to_leave_out_is_no_drift
what_the_package_tool_was_told_to_leave_out_is_no_drift() {
  old_machine
  local file=/usr/share/man/man1/openwatch.1.gz
  [ "$family" = rpm ] || file=/usr/share/bash-completion/completions/openwatch
  sh_ "rm $file"; expect_is "files $file" drift
  if [ "$family" = deb ]; then
    sh_ 'echo "path-exclude=/usr/share/bash-completion/*" > /etc/dpkg/dpkg.cfg.d/small'; expect_no_drift
    reinstall; expect_rc 0
  else # rpm notes by itself what it left out
    run sh -c 'rpm -U --replacepkgs --excludedocs /repo/rpm/1.0.0/openwatch-1.0.0-1.*.rpm'; expect_rc 0
  fi
  expect_is none sh_ "test -e $file && echo there || echo none"
  sh_ 'systemctl restart openwatch.service'; expect_no_drift
}
