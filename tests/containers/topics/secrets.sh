# Facts about secrets and about what looking changes. Every other fact also ends with a search of
# journal, logs and state for the planted password.
# shellcheck shell=bash disable=SC2154

# Row 22.
fact "deb rpm" the_password_is_in_no_argument_list_while_an_upgrade_runs
the_password_is_in_no_argument_list_while_an_upgrade_runs() {
  old_machine
  m sh -c 'while [ ! -e /tmp/stop-looking ]; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\0" " " >> /tmp/arguments; echo >> /tmp/arguments; done' &
  upgrade_to 2.0.0; expect_rc 0
  sh_ 'touch /tmp/stop-looking'; wait
  expect_is 0 sh_ "grep -c '$secret' /tmp/arguments || :"
  # The look itself can fail: it saw the tools at work.
  sh_ "grep -q pg_dump /tmp/arguments" || fail "no pg_dump was seen"
}

# Row 22.
fact "deb rpm" status_and_history_in_json_hold_no_password
status_and_history_in_json_hold_no_password() {
  failed_upgrade
  local verb; for verb in 'migrate --status' status history preflight 'backup list'; do
    run sh -c "openwatch $verb --json"; expect_no_out "$secret"
    m sh -c "openwatch $verb --json 2>/dev/null" > "$scratch/json"
    python3 -c 'import json,sys; json.load(open(sys.argv[1]))' "$scratch/json" || fail "$verb --json is not one object"
  done
}

fact deb the_credentials_file_is_read_as_systemd_reads_it
the_credentials_file_is_read_as_systemd_reads_it() {
  boot "$base_image"
  "$here/envfile.sh" "$lab" x "$machine" > "$scratch/out" 2>&1 || fail "$(cat "$scratch/out")"
}
