#!/bin/sh
# Accounts stay, so that nobody else gets their numbers.
set -e

if [ -d /run/systemd/system ]; then systemctl --system daemon-reload >/dev/null || true; fi
if [ "$1" = remove ]; then
  for unit in @ENABLE@; do
    if command -v deb-systemd-helper >/dev/null; then
      deb-systemd-helper mask "$unit" >/dev/null || true
    fi
  done
fi
if [ "$1" = purge ]; then
  for place in @STATE@; do rm -rf "$place"; done
  for unit in @ENABLE@; do
    if command -v deb-systemd-helper >/dev/null; then
      deb-systemd-helper purge "$unit" >/dev/null || true
      deb-systemd-helper unmask "$unit" >/dev/null || true
    fi
  done
fi
