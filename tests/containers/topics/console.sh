# What is asked for through the console with the token: the service leaves a wish, root does it.
# shellcheck shell=bash disable=SC2154

# act NAME [FIELD=VALUE...]: fills the form of the page in and sends it, as a browser does.
act() {
  m python3 - "$@" <<'PYTHON' 2>&1
import re, sys, urllib.error, urllib.parse as p, urllib.request as u
base = "http://127.0.0.1:8480"
page = u.urlopen(base + "/act", timeout=30).read().decode()
form = page.split(f'action="/act/{sys.argv[1]}"')[1]
fields = dict(word.split("=", 1) for word in sys.argv[2:])
fields.setdefault("token", "0123456789abcdef0123456789")
fields["form"] = re.search(r'name="form" value="([^"]*)"', form)[1]
ask = u.Request(base + "/act/" + sys.argv[1], p.urlencode(fields).encode(), {"Origin": base})
try:
    answer = u.urlopen(ask, timeout=30)
    print(answer.status, answer.url)
except urllib.error.HTTPError as error:
    print(error.status, error.read().decode())
PYTHON
}

# acts: what came of them, newest first, one line each.
acts() {
  m python3 -c 'import json
for a in json.load(open("/var/lib/openwatch/public/acts.json"))["acts"]: print(a["act"], a["outcome"], a["message"])'
}
acted() { grep -q "^$1 [a-z]" <<<"$(acts | head -n1)"; }

fact "deb" what_is_asked_for_with_the_token_is_done_by_root
whole_fact "rpm" what_is_asked_for_with_the_token_is_done_by_root
what_is_asked_for_with_the_token_is_done_by_root() {
  old_machine
  expect_is openwatch m stat -c %U /run/openwatch-asked
  expect_is 700 m stat -c %a /run/openwatch-asked
  expect_is active m systemctl is-active openwatch-asked.path
  # A wish that the service account leaves without any token set does nothing.
  sh_ 'echo "{\"format\":1,\"id\":\"a\",\"act\":\"backup\"}" > /run/openwatch-asked/wish'
  wait_for 60 acted backup; expect_out_of 'OPENWATCH_API_TOKEN' "$(acts)"
  expect_is 0 points

  sh_ 'echo OPENWATCH_API_TOKEN=0123456789abcdef0123456789 >> /etc/openwatch/secrets.env'
  expect_out_of '^403' "$(act backup token=0123456789abcdef0123456780)"
  expect_out_of '^200 .*/act' "$(act backup)"
  wait_for 60 sh_ 'ls /var/lib/openwatch/backups/*/manifest.json'
  wait_for 60 acted 'backup ok'
  local id; id=$(sh_ 'basename "$(dirname /var/lib/openwatch/backups/*/manifest.json)"')
  act pin "point=$id" until=2036-01-31 reason=audit >/dev/null
  wait_for 60 acted 'pin ok'
  run openwatch backup list; expect_rc 0; expect_out_of 'audit' "$out"
  act unpin "point=$id" >/dev/null
  wait_for 60 acted 'unpin ok'

  # What apt or dnf would install next, looked at inside of the unit's walls.
  use_repo 2.0.0
  # Whether a key of the sources is trusted is decided by a person, once.
  [ "$family" = deb ] || m dnf -q -y makecache >/dev/null 2>&1 || fail "makecache"
  act preflight >/dev/null
  wait_for 120 acted 'preflight ok'
  expect_out_of '0006' "$(http /next)"; expect_out_of 'There is room for the restore point' "$(http /next)"

  # Held through the console, upgrades wait; a hold of root's is not the console's to take back.
  act hold reason=audit >/dev/null
  wait_for 60 acted 'hold ok'
  run openwatch upgrade hold --reason mine; expect_rc 0
  sh_ 'echo "{\"format\":1,\"id\":\"b\",\"act\":\"release\"}" > /run/openwatch-asked/wish'
  wait_for 60 acted 'release refused'
  run openwatch upgrade release; expect_rc 0
  upgrade_to 2.0.0
  # The one that was asked for, and the one of the upgrade.
  expect_rc 0; expect_installed 2.0.0; expect_schema 0007; expect_mark none; expect_is 2 points
  wait_for 30 http /readyz; expect_ready 2.0.0
  expect_is active m systemctl is-active openwatch-asked.path
  expect_is '' sh_ 'journalctl --no-pager | grep 0123456789abcdef0123456789'
}
