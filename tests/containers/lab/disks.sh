# What:   attach and detach for containers: a file as a block device, and what udev and systemd make of it.
# Needs:  nspawn or engine, which has set c and in_machine; losetup. `attach DISK FILE`, `detach DISK`, `let_go`.
# Result: one device of this host per FILE, however many machines have it; gone when none has it any more.
# shellcheck shell=bash disable=SC2154
disks=${LAB_DIR:-/tmp/openwatch-lab}/disks

loop_of() { # loop_of FILE: by its path, so that a second name of one disk is a second device
  local found
  found=$(grep -lxF -- "$1" /sys/block/loop*/loop/backing_file 2>/dev/null | head -n1)
  if [ -n "$found" ]; then cut -d/ -f4 <<<"$found" | sed 's,^,/dev/,'; else losetup -f --show "$1"; fi
}
attach() {
  local dev numbers link
  dev=$(loop_of "$2") || return
  mkdir -p "$disks/$c"; echo "$dev $2" > "$disks/$c/$1"
  numbers=$(stat -c '0x%t 0x%T' "$dev" | { read -r major minor; echo $((major)) $((minor)); })
  link=/dev/disk/by-uuid/$(blkid -p -s UUID -o value "$2")
  in_machine sh -c "[ -e $dev ] || mknod $dev b $numbers
    mkdir -p /dev/disk/by-uuid; [ -e $link ] || ln -s $dev $link
    for unit in \$(grep -lsx What=$link /etc/systemd/system/*.mount); do systemctl start \${unit##*/}; done"
}
detach() { # without a word to anybody
  local dev; read -r dev _ < "$disks/$c/$1"
  in_machine sh -c "umount -l $dev
    for link in /dev/disk/by-uuid/*; do [ \$(readlink \$link) != $dev ] || rm \$link; done; rm $dev"
}
let_go() { # of a machine that is off: a device that no other machine has goes
  local file dev from
  for file in "$disks/$c"/*; do
    [ -e "$file" ] || continue
    read -r dev from < "$file"; rm "$file"
    grep -qsxF "$dev $from" "$disks"/*/* || [ "$(cat "/sys/block/${dev##*/}/loop/backing_file" 2>/dev/null)" != "$from" ] || losetup -d "$dev"
  done
}
