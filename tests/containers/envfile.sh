#!/bin/bash
# What:   puts the cases of envfile-cases/ through a unit with EnvironmentFile= on a booted systemd, and
#         compares what the unit's program gets with what tests/secrets.rs expects of our own reader.
# Needs:  the words that run a command there, with standard input passed on: envfile.sh LAB x MACHINE
# Result: one line per difference, then `N cases, N differ`; status 1 where any differs.
set -euo pipefail
cases=$(cd "$(dirname "$0")" && pwd)/envfile-cases
[ $# -gt 0 ] || { echo "envfile.sh: which machine?" >&2; exit 2; }
there() { "$@" </dev/null; }
found=$(mktemp -d) && trap 'rm -rf "$found"' EXIT

tar -C "$cases" -cf - . | "$@" sh -c 'rm -rf /run/envfile && mkdir /run/envfile && tar -C /run/envfile -xf -'
version=$(there "$@" systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')

# An instance per case: %i is its name. Files that systemd refuses leave no output behind.
# shellcheck disable=SC2016
there "$@" sh -c 'mkdir -p /run/systemd/system && cat > /run/systemd/system/envfile@.service <<END
[Service]
Type=oneshot
EnvironmentFile=/run/envfile/%i.env
ExecStart=/usr/bin/env -0
StandardOutput=file:/run/envfile/%i.out
END
systemctl daemon-reload
for file in /run/envfile/*.env; do units="${units-} envfile@$(basename "$file" .env).service"; done
systemctl start $units 2>/dev/null
systemctl reset-failed $units 2>/dev/null
rm /run/systemd/system/envfile@.service; systemctl daemon-reload' || :
there "$@" sh -c 'cd /run/envfile && tar -cf - $(ls | grep "[.]out$")' | tar -C "$found" -xf -
there "$@" rm -rf /run/envfile

total=0 differ=0
for case in "$cases"/*.env; do
  name=$(basename "$case" .env) expected=${case%.env}.expected total=$((total + 1))
  if [ "$version" -lt 254 ] && [ -e "$expected-before-254" ]; then expected+=-before-254; fi
  # Variables of the cases begin with OW; a value on one line each, as the expected files write it.
  if [ -e "$found/$name.out" ]; then
    { grep -z '^OW' "$found/$name.out" || :; } | LC_ALL=C sort -z |
      sed -z 's/\\/\\\\/g; s/\n/\\n/g; s/\t/\\t/g; s/\r/\\r/g' | tr '\0' '\n'
  else
    echo '!refused'
  fi > "$found/$name.now"
  if ! diff "$expected" "$found/$name.now" > "$found/diff"; then
    differ=$((differ + 1)); printf 'systemd %s reads %s otherwise:\n%s\n' "$version" "$name" "$(cat "$found/diff")"
  fi
done
printf '%s cases, %s differ\n' "$total" "$differ"
[ "$differ" = 0 ]
