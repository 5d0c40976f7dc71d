#!/bin/sh
# What:   turns a freshly bootstrapped Debian into a base for package tests; runs inside it.
# Needs:  root in the chroot (or a RUN step); this directory as /lab.
# Result: boots to `running` in half a second; rpm and dnf work as on a real rpm system.
set -e
install -Dm755 /lab/lab-init /lab-init
install -Dm755 /lab/systemd-update-helper /usr/lib/systemd/systemd-update-helper
install -Dm644 /lab/macros.lab /etc/rpm/macros.lab
mkdir -p /var/lib/rpm /var/log/journal /etc/systemd/system/postgresql@.service.d
bash /lab/userspace-rpm.sh           # what the Debian userspace provides, told to rpm
: > /etc/machine-id                 # each clone makes its own at first boot and keeps it
rm -f /usr/sbin/policy-rc.d         # left by the docker base image: it would block every unit start
systemctl mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer \
  console-getty.service getty@.service systemd-firstboot.service unattended-upgrades.service >/dev/null 2>&1
# They have nothing to say in a container, and each daemon-reload, of which a package has several, runs
# them all.
mkdir -p /etc/systemd/system-generators
for of in bless-boot cryptsetup debug getty gpt-auto hibernate-resume integritysetup rc-local run ssh tpm2 veritysetup; do
  ln -s /dev/null /etc/systemd/system-generators/systemd-$of-generator
done
# pg_ctlcluster probes for >= 1.5 s at each start; starting postgres itself takes 0.2 s
cat > /etc/systemd/system/postgresql@.service.d/fast.conf <<'U'
[Service]
Type=notify
User=postgres
ExecStart=
ExecStart=/bin/sh -c 'i=%i; v=$${i%%%%-*}; c=$${i#*-}; exec /usr/lib/postgresql/$$v/bin/postgres -D /var/lib/postgresql/$$v/$$c -c config_file=/etc/postgresql/$$v/$$c/postgresql.conf'
ExecStop=
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
KillSignal=SIGINT
PIDFile=
RuntimeDirectory=postgresql postgresql/%i.pg_stat_tmp
RuntimeDirectoryMode=2775
RuntimeDirectoryPreserve=yes
U
# pg_createcluster takes the next port that is free on the BUILD host (the chroot shares its network): pin it
for f in /etc/postgresql/*/main/postgresql.conf; do [ ! -e "$f" ] || sed -i 's/^port = .*/port = 5432/' "$f"; done
rm -rf /lab /var/lib/apt/lists/* /var/cache/apt/*.bin
