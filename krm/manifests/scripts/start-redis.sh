#!/bin/sh
# Starts one of several servers: as a replica of the master that the Sentinels name, else of the first server.
# A server comes back empty. If it was the master, it waits until another one is: an empty master would empty them all.
set -eu
umask 077
cli="${CLI:-valkey-cli}"
secure=""
[ -z "$TLS" ] || secure="--tls --cacert $TLS/ca.crt"

named() {
  for peer in $PEERS; do
    # shellcheck disable=SC2086 # words
    found="$(timeout 2 "$cli" $secure -h "$peer" -p 26379 --raw SENTINEL GET-MASTER-ADDR-BY-NAME krm 2>/dev/null | head -n 1)" || continue
    case "$found" in "" | *ERR* | *"Could not"*) continue ;; esac
    echo "$found"
    return
  done
}

master="$(named)"
tries=0
while [ "$master" = "$ME" ] && [ "$tries" -lt "${TRIES:-15}" ]; do
  sleep 1
  tries=$((tries + 1))
  master="$(named)"
done
[ -n "$master" ] || master="${PEERS%% *}"

{
  if [ -n "$TLS" ]; then
    echo "port 0"
    echo "tls-port 6379"
    echo "tls-replication yes"
    echo "tls-auth-clients no"
    echo "tls-cert-file $TLS/tls.crt"
    echo "tls-key-file $TLS/tls.key"
    echo "tls-ca-cert-file $TLS/ca.crt"
  else
    echo "port 6379"
  fi
  echo "bind ${BIND:-* -::*}"
  echo "protected-mode no"
  echo "aclfile ${USERS:-/etc/krm/users}/users.acl"
  echo "masteruser krm-replica"
  echo "masterauth $REPLICA_PASSWORD"
  echo "replica-announce-ip $ME"
  echo "dir ${DATA:-/data}"
  echo 'save ""'
  echo "appendonly no"
  echo "maxmemory $MAX_MEMORY"
  echo "maxmemory-policy noeviction"
  # A master that no replica hears takes no writes: what it took would be lost when the others elect another.
  echo "min-replicas-to-write 1"
  echo "min-replicas-max-lag 10"
  [ "$master" = "$ME" ] || echo "replicaof $master 6379"
} >"${TMPDIR:-/tmp}/redis.conf"
exec "${SERVER:-valkey-server}" "${TMPDIR:-/tmp}/redis.conf"
