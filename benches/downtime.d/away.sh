# Measures, as facts of tests/containers/run.sh: see ../downtime.
# shellcheck shell=bash disable=SC2154

# The client: a request every two milliseconds, the longest gap between two good answers at its end.
client='
import os, socket, time
last, worst = None, 0.0
while not os.path.exists("/tmp/enough"):
    try:
        with socket.create_connection(("127.0.0.1", 8480), 1) as s:
            s.settimeout(1)
            s.sendall(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:8480\r\nConnection: close\r\n\r\n")
            good = s.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        good = False
    now = time.monotonic()
    if good:
        if last is not None: worst = max(worst, now - last)
        last = now
        open("/tmp/seen", "w").close()
    time.sleep(0.002)
print(round(worst * 1000))
'
away() { # away CMD...: milliseconds without a good answer while the command runs
  sh_ 'rm -f /tmp/enough /tmp/seen'
  m python3 -c "$client" > "$scratch/away" & local asking=$!
  wait_for 20 sh_ 'test -e /tmp/seen'
  "$@"; expect_rc 0
  sh_ 'rm /tmp/seen'; wait_for 20 sh_ 'test -e /tmp/seen'
  sh_ 'touch /tmp/enough'; wait $asking
  cat "$scratch/away"
}
restart() { run systemctl restart openwatch.service; }
median() { sort -n | sed -n "$(((ROUNDS + 1) / 2))p"; }

fact "deb rpm" nothing_pending_is_away_no_longer_than_a_restart
nothing_pending_is_away_no_longer_than_a_restart() {
  local round r u restarts=() upgrades=() of=$machine
  for round in $(seq "$ROUNDS"); do
    machine=$of-$round; old_machine
    wait_for 20 http /readyz
    r=$(away restart) && u=$(away upgrade_to 1.0.1) || exit 1   # which has said why
    restarts+=("$r") upgrades+=("$u")
    expect_installed 1.0.1; expect_points 0
    "$lab" down "$machine"
  done
  r=$(printf '%s\n' "${restarts[@]}" | median); u=$(printf '%s\n' "${upgrades[@]}" | median)
  say "$family: away $u ms for an upgrade with nothing pending, $r ms for a restart, ratio $(awk "BEGIN { printf \"%.2f\", $u / $r }")"
  say "  upgrades: ${upgrades[*]}; restarts: ${restarts[*]}"
}

worked() { # milliseconds that the last run took for its restore point and its migrations
  m openwatch history --json | python3 -c '
import json, sys
marks = {(m["step"], m["when"]): m["elapsed_ms"] for m in json.load(sys.stdin)["runs"][0]["marks"]}
print(sum(marks[step, "done"] - marks[step, "begun"] for step in ("restore_point", "migrate")))'
}

fact "deb rpm" what_is_pending_costs_its_restore_point_its_migrations_and_little_more
what_is_pending_costs_its_restore_point_its_migrations_and_little_more() {
  local round u w aways=() works=() more=() of=$machine
  for round in $(seq "$ROUNDS"); do
    machine=$of-$round; old_machine
    wait_for 20 http /readyz
    u=$(away upgrade_to 2.0.0) && w=$(worked) || exit 1   # which has said why
    aways+=("$u") works+=("$w") more+=($((u - w)))
    expect_installed 2.0.0; expect_points 1
    "$lab" down "$machine"
  done
  u=$(printf '%s\n' "${more[@]}" | median)
  say "$family: away $u ms longer than the restore point and the migrations took (limit 2000)"
  say "  away: ${aways[*]}; restore point and migrations: ${works[*]}"
}
