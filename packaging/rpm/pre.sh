#!/bin/sh
# Before the new files are unpacked: the program on disk is the installed one, and it may say no.
# rpm before 4.19 makes no users, and a file of an unknown group would silently become root's.
getent group openwatch >/dev/null || groupadd -r openwatch
getent passwd openwatch >/dev/null ||
    useradd -r -g openwatch -d /var/lib/openwatch -M -s /sbin/nologin -c "OpenWatch service" openwatch
# Not a first install: upgrade, reinstall or downgrade. Which of them, the program finds out.
if [ "$1" -ge 2 ] && [ -x /usr/bin/openwatch ]; then
    # From rpm 4.20 on a scriptlet has no network, and no database would be found: systemd runs it.
    outside=; [ ! -d /run/systemd/system ] || outside="systemd-run --quiet --collect --wait --pipe --setenv=OPENWATCH_NOW=$OPENWATCH_NOW"
    # 5 is a refusal, which changes nothing. A program that is broken must not block its own repair.
    $outside /usr/bin/openwatch scriptlet rpm pre "$1" "@EVR@" || [ "$?" -ne 5 ] || exit 5
fi
exit 0
