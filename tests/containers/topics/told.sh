# Facts about who learns of an upgrade, and about the gate that nothing passes.
# shellcheck shell=bash disable=SC2154

# Rows 63 and 90.
fact "deb rpm" a_failure_is_told_to_receiver_journal_login_and_the_operators_program
a_failure_is_told_to_receiver_journal_login_and_the_operators_program() {
  old_machine
  m sh -c 'cat > /root/receiver.py' <<'PY'
import http.server
class Own(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        print(self.headers.get("authorization"), self.headers.get("x-hub-signature-256"), body, flush=True)
        self.send_response(204); self.end_headers()
http.server.HTTPServer(("127.0.0.1", 8099), Own).serve_forever()
PY
  sh_ "mkdir -p /etc/openwatch/upgrade.conf.d
    printf '[notify]\nreport_url = \"http://127.0.0.1:8099/\"\ntoken_env = \"HOOK_TOKEN\"\nlimit = \"2s\"\n' > /etc/openwatch/upgrade.conf.d/notify.conf
    echo HOOK_TOKEN=$secret >> /etc/openwatch/secrets.env
    printf '#!/bin/sh\necho \"\$1\" >> /var/log/on-failure-was-here\n' > /etc/openwatch/on-failure; chmod 755 /etc/openwatch/on-failure"
  # Nobody listens: the report waits, and the upgrade fails as it would have failed.
  upgrade_to 2.1.0
  expect_failure; expect_out '0008_audit_trail'; expect_mark there
  expect_is 1 sh_ 'ls /var/lib/openwatch/upgrade/spool | wc -l'
  expect_is '700 root' sh_ "stat -c '%a %U' /var/lib/openwatch/upgrade/spool"
  wait_for 30 sh_ 'grep -qx openwatch-upgrade.service /var/log/on-failure-was-here'
  # A start behind the gate fails again, which is no other failure.
  run systemctl start openwatch.service; expect_failure
  wait_for 60 sh_ 'journalctl -q -u openwatch-failure@openwatch-upgrade.service.service | grep -qi skipp'
  expect_is 1 sh_ 'wc -l < /var/log/on-failure-was-here'
  # The journal, by an id that never changes, with fields; and explained.
  run journalctl --no-pager -o json MESSAGE_ID=24958a33ce3c4cef9af4d26b7aa77aef
  for field in '"OPENWATCH_APP":"openwatch"' '"OPENWATCH_TO":"2.1.0(-1)?"' '"OPENWATCH_OUTCOME":"migration_failed"' \
    '"OPENWATCH_STEP":"migrate"' '"OPENWATCH_RESTORE_POINT":"2'; do expect_out "$field"; done
  # What a file trigger of systemd does on a system of rpm packages; this machine is a Debian.
  [ "$family" = deb ] || m journalctl --update-catalog
  run journalctl --no-pager -x MESSAGE_ID=24958a33ce3c4cef9af4d26b7aa77aef
  expect_out 'Subject: The upgrade of openwatch to 2.1.0(-1)? failed'
  # Whoever logs in reads it, also after a reboot, until it is acknowledged. As from a getty, login
  # leads its session: below a shell, that of util-linux 2.41 stops for good (SIGTTIN).
  reboot
  run sh -c 'echo exit | script -qec "exec login -f root" /dev/null'
  expect_out 'openwatch: the upgrade 1.0.0(-1)? -> 2.1.0(-1)? FAILED'; expect_out 'next: '
  run openwatch status; expect_out '0008_audit_trail'; expect_out 'reports: .*1 wait'
  run openwatch status --acknowledge; expect_rc 0
  run sh -c 'echo exit | script -qec "exec login -f root" /dev/null'; expect_no_out 'FAILED'
  # The daily job brings what nobody took.
  sh_ 'python3 /root/receiver.py > /root/received 2>&1 &'
  wait_for 20 sh_ 'python3 -c "import socket; socket.create_connection((\"127.0.0.1\", 8099), 1)"'
  run systemctl start openwatch-backup-cleanup.service; expect_rc 0
  expect_is 0 sh_ 'ls /var/lib/openwatch/upgrade/spool | wc -l'
  run sh -c "grep -c '^Bearer $secret .*\"event\":\"upgrade.failed\"' /root/received; sed -i 's/Bearer [^ ]*//' /root/received"
  [ "${out%%$'\n'*}" = 1 ] || fail "it was not received once"
  out=; : > "$scratch/out"
}

# Rows 5, 30, 31, 50, 51 and 93.
fact "deb rpm" nothing_passes_the_gate_but_a_dated_word
nothing_passes_the_gate_but_a_dated_word() {
  old_machine
  # A service of somebody else with a socket, a timer, and a unit that wants it; only drop-ins are ours.
  sh_ 'cd /etc/systemd/system
    printf "[Service]\nExecStart=/bin/sleep infinity\nRestart=always\nRestartSec=100ms\n" > worker.service
    printf "[Socket]\nListenStream=/run/worker.sock\n" > worker.socket
    printf "[Timer]\nOnActiveSec=1s\nOnUnitInactiveSec=1s\nAccuracySec=100ms\n" > worker.timer
    printf "[Unit]\nRequires=worker.service\nAfter=worker.service\n[Service]\nExecStart=/bin/sleep infinity\n" > dependant.service
    mkdir worker.service.d; sed s/NAME/openwatch/g /usr/share/openwatch/gate.conf > worker.service.d/50-start-gate.conf
    mkdir -p /etc/openwatch/upgrade.conf.d
    systemctl daemon-reload'
  run systemctl start worker.service; expect_rc 0
  upgrade_to 2.1.0; expect_failure; expect_mark there
  # It is not in `services`, so it was not stopped; from now on no road leads to a start.
  sh_ 'systemctl kill -s KILL worker.service'
  closed() { expect_is '' sh_ "systemctl is-active worker.service openwatch.service dependant.service | grep -x active"; }
  wait_for 20 sh_ 'systemctl is-active worker.service | grep -qxE "failed|inactive"'
  for words in 'start worker.service' 'restart worker.service' 'start dependant.service' 'start openwatch.service'; do
    run sh -c "systemctl $words"; expect_failure; closed
  done
  sh_ 'systemctl try-restart worker.service; systemctl reload-or-restart worker.service
    systemctl start worker.socket worker.timer
    python3 -c "import socket; s = socket.socket(socket.AF_UNIX); s.connect(\"/run/worker.sock\")"; needrestart -r a -q' >/dev/null 2>&1
  wait_for 20 sh_ 'test "$(systemctl show -P AssertResult worker.service)" = no'
  closed; sh_ 'systemctl stop worker.socket worker.timer'
  # The unit's own status says why, and what to do.
  run systemctl status --no-pager -l openwatch.service; expect_out 'not started: .*next: run `'
  reboot; closed; expect_mark there
  # A dated word opens it, is logged, and is over by itself.
  run openwatch gate; expect_rc 10; expect_out 'hint: '
  run openwatch gate open --until 20s --reason 'the fact needs it'; expect_rc 0
  run systemctl start worker.service; expect_rc 0
  expect_is active m systemctl is-active worker.service
  run openwatch status; expect_out 'held open until .*the fact needs it'
  run journalctl --no-pager MESSAGE_ID=142a5b3f324c43c0bbb32a86cf89dca1; expect_out 'the fact needs it'
  wait_for 60 sh_ '! test -e /run/openwatch/gate-open'
  run journalctl --no-pager MESSAGE_ID=ee0c43b431c542f2ba93723b30875ddf; expect_out 'no longer open by hand'
  run systemctl restart worker.service; expect_failure; closed
  # The next version is right: the same unit starts, and its schema was looked at.
  upgrade_to 3.0.0; expect_rc 0
  run systemctl start worker.service; expect_rc 0; expect_is active m systemctl is-active worker.service
  # An older program under a newer schema is kept out although no upgrade is open.
  sql "update openwatch_schema_history set version = '9999' where version = '0008'" >/dev/null || fail "a newer schema"
  m systemctl restart worker.service 2>/dev/null
  # systemd 247 takes the refusal for an end and starts again, until its limit of starts.
  wait_for 30 sh_ 'systemctl is-active worker.service | grep -qxE "inactive|failed"'
  run systemctl status --no-pager -l worker.service; expect_out 'schema|ahead|missing'
}
