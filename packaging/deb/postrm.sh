#!/bin/sh
# Accounts stay, so that nobody else gets their numbers.
set -e

if [ "$1" = remove ]; then
  for unit in @ENABLE@; do
    if command -v deb-systemd-helper >/dev/null; then
      deb-systemd-helper mask "$unit" >/dev/null || true
    fi
  done
fi
if [ "$1" = purge ]; then
  for place in @STATE@; do rm -rf "$place"; done
  # What the administrator has enabled too: installed anew, nothing listens but what is asked for.
  set -f
  for unit in @STOP@; do
    find /etc/systemd/system -mindepth 2 -maxdepth 2 -type l -path '*.wants/*' -name "$unit" -delete
  done
  for place in 'ipcd*.wants' sockets.target.wants; do
    find /etc/systemd/system -mindepth 1 -maxdepth 1 -type d -name "$place" -empty -delete
  done
  for unit in @ENABLE@; do
    if command -v deb-systemd-helper >/dev/null; then
      deb-systemd-helper purge "$unit" >/dev/null || true
      deb-systemd-helper unmask "$unit" >/dev/null || true
    fi
  done
fi
if [ -d /run/systemd/system ]; then systemctl --system daemon-reload >/dev/null || true; fi
