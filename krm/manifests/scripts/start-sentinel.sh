#!/bin/sh
# Starts a Sentinel that watches the master which the others name, else the first server.
set -eu
umask 077
cli="${CLI:-valkey-cli}"
secure=""
[ -z "$TLS" ] || secure="--tls --cacert $TLS/ca.crt"

master=""
for peer in $PEERS; do
  [ "$peer" != "$ME" ] || continue
  # shellcheck disable=SC2086 # words
  found="$(timeout 2 "$cli" $secure -h "$peer" -p 26379 --raw SENTINEL GET-MASTER-ADDR-BY-NAME krm 2>/dev/null | head -n 1)" || continue
  case "$found" in "" | *ERR* | *"Could not"*) continue ;; esac
  master="$found"
  break
done
[ -n "$master" ] || master="${PEERS%% *}"

{
  if [ -n "$TLS" ]; then
    echo "port 0"
    echo "tls-port 26379"
    echo "tls-replication yes"
    echo "tls-auth-clients no"
    echo "tls-cert-file $TLS/tls.crt"
    echo "tls-key-file $TLS/tls.key"
    echo "tls-ca-cert-file $TLS/ca.crt"
  else
    echo "port 26379"
  fi
  echo "bind ${BIND:-* -::*}"
  echo "protected-mode no"
  echo "dir ${TMPDIR:-/tmp}"
  echo "sentinel resolve-hostnames yes"
  echo "sentinel announce-hostnames yes"
  echo "sentinel announce-ip $ME"
  echo "sentinel monitor krm $master 6379 2"
  echo "sentinel auth-user krm krm-sentinel"
  echo "sentinel auth-pass krm $SENTINEL_PASSWORD"
  echo "sentinel down-after-milliseconds krm ${DOWN_AFTER_MS:-3000}"
  echo "sentinel failover-timeout krm 10000"
  echo "sentinel parallel-syncs krm 1"
} >"${TMPDIR:-/tmp}/sentinel.conf"
exec "${SERVER:-valkey-server}" "${TMPDIR:-/tmp}/sentinel.conf" --sentinel
