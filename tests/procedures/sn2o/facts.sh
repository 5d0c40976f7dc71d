# Facts about an appliance with a separate data disk: two system images, and a disk that moves from one to
# the other. It is a loop device, and the lab does what udev does on a machine that has it.
# shellcheck shell=bash disable=SC2154,SC2016,SC2034

sn2o=$(dirname "${BASH_SOURCE[0]}")

# --- the disk -------------------------------------------------------------------------------------

disk_make() { # disk_make NAME [FEATURES]: an empty ext4 in $scratch/NAME.img
  truncate -s 1G "$scratch/$1.img"
  mkfs.ext4 -q -O "${2:-^mmp}" -L "$1" "$scratch/$1.img" || fail "mkfs"
}
disk_uuid() { blkid -p -s UUID -o value "$scratch/$1.img"; }
at() { # at old|new CMD...: in that machine
  local machine=$appliance-$1; shift; "$@"
}
attach() { "$lab" attach "$machine" "$1" "$scratch/$1.img" >> "$scratch/log" 2>&1 || fail "attach $1"; }
plug() { # plug DISK: attached, and mounted without anybody's asking
  attach "$1"
  wait_for 60 m systemctl is-active srv-data.mount
}
pull() { # pull DISK: gone without a word to anybody
  "$lab" detach "$machine" "$1" >> "$scratch/log" 2>&1 || fail "detach $1"
}
sn2o_gone() {
  local status=$? machine
  if [ $status != 0 ]; then
    for machine in "$appliance-old" "$appliance-new"; do
      { echo "--- $machine"; m journalctl --no-pager -q -o short-precise -u 'openwatch*' -u 'srv*' -u 'postgresql*' | tail -n 60; } >> "$scratch/log" 2>&1
    done
  fi
  for machine in "$appliance-old" "$appliance-new"; do "$lab" down "$machine" >/dev/null 2>&1; done
  "$lab" down "$appliance-image" >/dev/null 2>&1
  rm -rf --one-file-system "$scratch"/*.img "$LAB_DIR/$appliance-next"
}

# --- the two systems ------------------------------------------------------------------------------

# The cluster lies on the disk, its configuration in the image; the disk is mounted by its name.
appliance_conf() {
  data_disk_is data
  sh_ "major=\$(ls /etc/postgresql); sed -i \"s,^data_directory.*,data_directory = '/srv/data/postgresql',\" /etc/postgresql/\$major/main/postgresql.conf
    printf '\n[appliance]\ndata_disk = \"/srv/data\"\nunits = [\"postgresql@%s-main.service\"]\n' \$major >> /usr/share/openwatch/upgrade.conf" || fail "appliance"
  m sh -c 'cat >> /usr/share/openwatch/upgrade.conf' < "$sn2o/health.conf" || fail "probes"
  m sh -c 'cat > /usr/local/bin/record; chmod 755 /usr/local/bin/record' < "$sn2o/record" || fail "record"
  m sh -c 'cat > /etc/openwatch/upgrade.conf' < "$sn2o/operator.conf" || fail "operator"
  sh_ 'echo 400 > /etc/openwatch/licence-days; systemctl daemon-reload'
}
data_disk_is() { # data_disk_is DISK: which one the system mounts
  sh_ "mkdir -p /srv/data; sed -i '\\,/srv/data,d' /etc/fstab
    echo 'UUID=$(disk_uuid "$1") /srv/data ext4 nofail,x-systemd.device-timeout=5s 0 2' >> /etc/fstab" || fail "fstab"
  # systemd leaves devices of fstab alone in a container, so the mount is written as its generator would.
  sh_ "printf '%s\n' '[Mount]' 'What=/dev/disk/by-uuid/$(disk_uuid "$1")' Where=/srv/data Type=ext4 \
      '[Install]' WantedBy=multi-user.target > /etc/systemd/system/srv-data.mount; systemctl -q enable srv-data.mount" || fail "mount"
  sh_ 'systemctl daemon-reload'
}
old_system() { # 1.0.0 in use, its data on the disk, which it has marked
  local machine=$appliance-old; old_machine; disk_make data "${1:-^mmp}"
  m systemctl stop openwatch.service
  m sh -c 'systemctl stop "postgresql@*"'
  appliance_conf
  plug data
  sh_ 'major=$(ls /etc/postgresql); mv /var/lib/postgresql/$major/main /srv/data/postgresql; mkdir /var/lib/postgresql/$major/main' || fail "cluster"
  run openwatch disk init; expect_rc 0
  sh_ 'systemctl stop srv-data.mount; systemctl start srv-data.mount'
  wait_for 60 ready 1.0.0
}
ready() { [ "$(m systemctl is-active openwatch.service)" = active ] && grep -q "$1" <<<"$(http /version)"; }
new_system() { # VERSION of the next image, which has never seen the disk
  next_image=$(make_image "$1") || exit
  next_boots
}
make_image() { # VERSION: as whoever builds images does it, not as a machine that runs; prints it
  local machine=$appliance-image; exec 3>&1 >> "$scratch/log"
  fresh "$1"; tool install openwatch; expect_rc 0
  sh_ "echo 'OPENWATCH_DATABASE_DSN=postgresql://openwatch:$secret@127.0.0.1/openwatch' > /etc/openwatch/secrets.env
    tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id
    systemctl stop openwatch.service postgresql.service 'postgresql@*'; rm -rf /var/lib/postgresql/*/main/*"
  appliance_conf
  "$lab" save "$machine" "$appliance-next" >&3
}
next_boots() { # its first boot, without the disk: degraded
  local machine=$appliance-new
  "$lab" up "$machine" "$next_image" -v "$repo:/repo:ro" >/dev/null 2>&1; m true || fail "no boot"
}
appliance_pair() { # [VERSION FEATURES]: the old one; a fact ends with neither
  appliance=$machine; trap sn2o_gone EXIT
  old_system "${2:-^mmp}"
  at old remember_data
}
swap_to() { # swap_to new VERSION: steps 2 to 5
  at old halted; new_system "$1"
  at new disk_is_awaited
  at new plug data
}
starts() { "$lab" start "$machine" >/dev/null 2>&1; m true || fail "no boot"; }   # degraded: without its disk
halted() { "$lab" halt "$machine"; }
disk_is_awaited() { # no disk, no service, and the gate says why
  expect_is inactive m systemctl is-active openwatch.service
  run openwatch gate; expect_rc 5; expect_out 'the data disk is not attached'
  run systemctl start openwatch.service; expect_failure
}
phase() { m python3 -c "import json; print(json.load(open('/srv/data/openwatch/upgrade-state.json'))['upgrade']['phase'])"; }
# The unit says READY before it has proved health, and is over when it is not active any more.
settled() { case "$(m systemctl is-active openwatch-upgrade.service)" in inactive | failed) ;; *) return 1 ;; esac; }
prepare() { run openwatch upgrade --prepare --for "$1"; expect_rc 0; expect_out "pre-v$1"; }
back_on_old() { # the old system gets its disk back, and has its data again by itself
  starts
  disk_is_awaited; plug data
  wait_for 120 ready 1.0.0; wait_for 60 settled
  expect_same_data; expect_schema 0005; expect_is went_back phase; expect_mark none
}

# Step 1 as the team wrote it: POST with the token; nobody else is heard.
asked_over_http() {
  post '' 404
  sh_ "echo OPENWATCH_API_TOKEN=a-token-of-the-appliance >> /etc/openwatch/secrets.env
    echo 'PREPARE_OPTIONS=--for $1' > /etc/openwatch/prepare.env"
  post '' 401; post a-token-of-the-applianc 401
  post a-token-of-the-appliance 202
  wait_for 60 prepared
  run openwatch backup list; expect_out "pre-v$1"
}
prepared() { [ "$(phase)" = prepared ]; }
post() { # post TOKEN STATUS
  expect_is "$2" m python3 -c "import urllib.request as u, urllib.error as e
r=u.Request('http://127.0.0.1:8480/api/v1/upgrade/prepare', b'', {'Authorization': 'Bearer $1'})
try: print(u.urlopen(r, timeout=5).status)
except e.HTTPError as x: print(x.code)"
}

# The eight steps.
fact "deb" a_data_disk_moves_to_the_next_image_and_is_upgraded_there
a_data_disk_moves_to_the_next_image_and_is_upgraded_there() {
  local FACT_LIMIT=300
  appliance_pair
  at old asked_over_http 2.0.0
  swap_to 2.0.0
  at new wait_for 120 ready 2.0.0; at new wait_for 60 settled
  at new expect_schema 0007
  at new expect_is 'done' phase
  at new expect_mark none
  at new expect_is 20000 sql 'select count(*) from customer_notes'
  at new m test -s /run/smoke || fail "no record was collected"
  # A reboot with the disk is nothing special.
  at new run openwatch disk status; expect_out 'they belong together'
  at new expect_no_secret
}

whole_fact "deb" a_preparation_is_refused_with_every_reason_at_once
a_preparation_is_refused_with_every_reason_at_once() {
  appliance_pair
  local machine=$appliance-old
  # A signature of GPG, a licence, a window, and a disk that is nearly full.
  sh_ 'cd /root; echo image > next.raw; export GNUPGHOME=/root/gpg; mkdir -m 700 -p $GNUPGHOME
    gpg -q --batch --passphrase "" --quick-gen-key image@example.org ed25519 &&
    gpg -q --export > /etc/openwatch/image.gpg && gpg -q --detach-sign -o next.raw.sig next.raw &&
    sed -i "1i verify_image = [\"/usr/bin/gpgv\", \"-q\", \"--keyring\", \"/etc/openwatch/image.gpg\", \"{image}.sig\", \"{image}\"]" /etc/openwatch/upgrade.conf' ||
    fail "signature"
  run openwatch upgrade --prepare --for 2.0.0 --image /root/next.raw; expect_rc 0
  expect_is prepared phase
  sh_ 'echo other >> /root/next.raw; echo 29 > /etc/openwatch/licence-days
    sed -i "1i window = [\"$(date -d "12 hours" +%H:%M)-$(date -d "13 hours" +%H:%M)\"]" /etc/openwatch/upgrade.conf
    fallocate -l $(($(stat -f -c "%a * %S" /srv/data) - 16777216)) /srv/data/ballast'
  local before; before=$(sh_ 'cat /srv/data/openwatch/upgrade-state.json; ls /srv/data/openwatch/backups')
  run openwatch upgrade --prepare --for 2.0.0 --image /root/next.raw; expect_rc 5
  expect_out 'signature of /root/next.raw does not verify'; expect_out 'licence ends in 29 days'
  expect_out 'outside the maintenance window'; expect_out 'less than twice the data is free'
  expect_out 'nothing was changed'
  expect_is "$before" sh_ 'cat /srv/data/openwatch/upgrade-state.json; ls /srv/data/openwatch/backups'
}

# The migration of 2.1.0 cannot work.
whole_fact "deb" a_failing_migration_gives_the_disk_back_to_the_old_image
a_failing_migration_gives_the_disk_back_to_the_old_image() {
  local FACT_LIMIT=300
  appliance_pair
  at old prepare 2.1.0
  swap_to 2.1.0
  at new wait_for 120 failed_on_disk
  at new expect_is 1 m systemctl show -P ExecMainStatus openwatch-upgrade.service
  at new expect_is inactive m systemctl is-active openwatch.service
  at new expect_schema 0005
  at new halted
  at old back_on_old
}
failed_on_disk() { [ "$(phase)" = failed ] && settled; }

whole_fact "deb" failing_health_gives_the_disk_back_to_the_old_image
failing_health_gives_the_disk_back_to_the_old_image() {
  local FACT_LIMIT=300
  appliance_pair
  at old prepare 2.0.0
  at old halted; new_system 2.0.0
  # The smoke test, which is the last of the proofs.
  at new sh_ 'printf "#!/bin/sh\n[ \$# != 0 ]\n" > /usr/local/bin/record'
  at new plug data
  at new wait_for 240 failed_on_disk
  at new expect_is inactive m systemctl is-active openwatch.service
  at new halted
  at old back_on_old
}

whole_fact "deb" a_data_disk_that_is_pulled_while_running_stops_the_services_and_comes_back
a_data_disk_that_is_pulled_while_running_stops_the_services_and_comes_back() {
  appliance_pair
  local machine=$appliance-old
  pull data
  wait_for 60 sh_ 'test "$(systemctl is-active openwatch.service)" != active'
  disk_is_awaited
  plug data
  wait_for 120 ready 1.0.0
  expect_same_data
}

whole_fact "deb" a_wrong_data_disk_is_refused_by_name
a_wrong_data_disk_is_refused_by_name() {
  appliance_pair
  local machine=$appliance-old
  m systemctl stop srv-data.mount
  disk_make other; data_disk_is other
  plug other
  expect_is inactive m systemctl is-active openwatch.service
  expect_is inactive sh_ 'systemctl is-active "postgresql@$(ls /etc/postgresql)-main.service"'
  run openwatch disk attach; expect_rc 5; expect_out 'not the data disk of this machine'
  expect_is 'lost+found' m ls /srv/data
}

whole_fact "deb" a_data_disk_that_is_attached_twice_is_refused
a_data_disk_that_is_attached_twice_is_refused() {
  appliance_pair
  new_system 2.0.0
  # The other machine has it mounted, and has not let it go.
  at new plug data
  at new expect_is inactive m systemctl is-active openwatch.service
  at new run openwatch disk attach; expect_rc 5; expect_out 'attached to another machine'
  at new m systemctl stop srv-data.mount
  at old expect_ready 1.0.0
  # The same disk twice in one machine.
  local machine=$appliance-old
  m systemctl stop srv-data.mount
  ln "$scratch/data.img" "$scratch/twin.img"
  attach twin
  m systemctl start srv-data.mount
  run openwatch disk attach; expect_rc 5; expect_out 'attached twice'
  pull twin
  sh_ 'systemctl stop srv-data.mount; systemctl start srv-data.mount'
  wait_for 120 ready 1.0.0
  expect_same_data
}

# Power cuts in the new system, before each of five steps: the next boot of it goes on by itself.
whole_fact "deb" power_cuts_of_the_new_image_at_five_points_are_finished_by_its_next_boot
power_cuts_of_the_new_image_at_five_points_are_finished_by_its_next_boot() {
  local FACT_LIMIT=300 step
  appliance_pair
  at old prepare 2.0.0
  at old halted; new_system 2.0.0
  cp --sparse=always "$scratch/data.img" "$scratch/kept.img"
  for step in quiesce restore-point migrate start health; do
    at new cut_before "$step"
    at new starts
    at new no_hook; at new plug data
    at new wait_for 120 ready 2.0.0; at new wait_for 60 settled
    at new expect_schema 0007; at new expect_is 'done' phase
    at new expect_is 20000 sql 'select count(*) from customer_notes'
    say "cut before $step: finished by the next boot"
    at new halted; as_before
  done
}
as_before() { # the disk as the old system let it go, a new image that has never seen it
  cp --sparse=always "$scratch/kept.img" "$scratch/data.img"
  "$lab" down "$appliance-new"; next_boots
}
cut_before() { # cut_before STEP: power goes when the run is there
  sh_ "mkdir -p /etc/openwatch/hooks.d/$1.before.d; cd /etc/openwatch/hooks.d/$1.before.d
    printf '#!/bin/sh\ntouch /run/openwatch/there; exec sleep 86400\n' > hold; chmod 755 hold"
  plug data
  wait_for 120 m test -e /run/openwatch/there
  "$lab" kill "$machine"
}
no_hook() { sh_ 'rm -r /etc/openwatch/hooks.d'; }

# Where the file system is guarded by the kernel, a machine that lost its power is known to be gone.
whole_fact "deb" a_power_cut_of_the_new_image_and_the_old_one_takes_its_disk_back_by_itself
a_power_cut_of_the_new_image_and_the_old_one_takes_its_disk_back_by_itself() {
  local FACT_LIMIT=300
  appliance_pair 2.0.0 mmp
  at old prepare 2.0.0
  at old halted; new_system 2.0.0
  at new cut_before start
  at old back_on_old
}
