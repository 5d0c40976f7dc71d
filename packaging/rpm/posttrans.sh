#!/bin/sh
# At the end of the transaction, when the old package is gone. Where the header flags it critical, its
# failure is the tool's failure (dnf exits 1). The mark decides, because $1 is 1 here on rpm before
# 4.18 even for an upgrade.
if [ -e /var/lib/openwatch/upgrade/pending ]; then
    /usr/bin/openwatch scriptlet rpm posttrans "$1" || exit
fi
exit 0
