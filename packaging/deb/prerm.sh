#!/bin/sh
set -e

[ "$1" = remove ] || exit 0
[ -d /run/systemd/system ] || exit 0
for unit in @STOP@; do deb-systemd-invoke stop "$unit" || true; done
