#!/bin/sh
# Process 1 of a node, inside the node's own process, network, host-name, IPC and mount namespace.
# Arguments: folder of the cluster, name of the node, its address, the box's address on the bridge,
# then the box's other addresses. Whoever kills this process cuts the power of the node.
set -eu
folder=$1 node=$2 address=$3 box=$4
shift 4
echo "$node" >/proc/sys/kernel/hostname
mount --bind "$folder/hosts" /etc/hosts
[ ! -e /etc/resolv.conf ] || mount --bind "$folder/resolv.conf" /etc/resolv.conf
mount -t tmpfs -o mode=1777 devslurm /dev/shm # shared memory is a node's own; all other files are shared

ip link set lo up
until ip link set eth0 up 2>/dev/null; do sleep 0.02; done # it is put here from outside
ip address add "$address/24" dev eth0
for other in "$@"; do ip route add "$other" via "$box"; done

slurmd -N "$node"
while :; do sleep 1000; done # the shell reaps what jobs leave behind
