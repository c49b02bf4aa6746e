#!/bin/sh
# Ports are opened by nobody but the administrator: only sockets of this host are enabled here.
set -e

[ "$1" = configure ] || exit 0

for accounts in @ACCOUNTS@; do systemd-sysusers "$accounts"; done
if [ -d /run/systemd/system ]; then
  for places in @PLACES@; do systemd-tmpfiles --create "$places"; done
fi
for unit in @ENABLE@; do
  deb-systemd-helper unmask "$unit" >/dev/null || true
  if deb-systemd-helper --quiet was-enabled "$unit"; then
    deb-systemd-helper enable "$unit" >/dev/null || true
  else
    deb-systemd-helper update-state "$unit" >/dev/null || true
  fi
done
[ -d /run/systemd/system ] || exit 0
systemctl --system daemon-reload >/dev/null || true
for unit in @ENABLE@; do
  if systemctl --quiet is-enabled "$unit"; then deb-systemd-invoke start "$unit" || true; fi
done
# On an upgrade only what hands everything on by itself starts again: its clients wait in its
# socket, and what was handed over stays connected. The others carry connections, and go on with
# the program that they have until the administrator restarts them.
if [ -n "$2" ]; then
  for unit in @RESTART@; do
    if ipcd --check; then
      deb-systemd-invoke try-restart "$unit" || true
    else
      echo "@PACKAGE@: $unit goes on with the configuration that it has, until this is put right" >&2
    fi
  done
fi
