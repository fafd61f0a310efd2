#!/bin/sh
# Runs the image on a host: `run.sh podman` or `run.sh docker`, as root. Every option has its reason:
#   --pid, --network host       processes are named, and the edge is the host's, not the container's
#   --cap-*                     those of the service, and no other (HARDENING.md)
#   apparmor=unconfined         the engines' profile forbids reading /proc/PID/exe of processes outside
#   /sys/fs/bpf                 counting goes on while the agent is away
#   /sys/fs/cgroup              the socket ledger is attached to the host's root group, which a container does not see
#   /var/lib, /run/homeport     ledger and state outlive the container; the second one is for the next agent on this boot
set -e
engine=${1:?podman or docker}
mkdir -p /etc/homeport /var/lib/homeport /run/homeport
exec "$engine" run --detach --name homeport --restart always \
    --pid host --network host --uts host --read-only \
    --cap-drop ALL --cap-add BPF --cap-add PERFMON --cap-add NET_ADMIN --cap-add SYS_ADMIN --cap-add SYS_PTRACE \
    --cap-add DAC_READ_SEARCH --security-opt no-new-privileges --security-opt apparmor=unconfined \
    --ulimit memlock=-1 --stop-timeout 30 \
    --volume /sys/fs/bpf:/sys/fs/bpf --volume /sys/fs/cgroup:/sys/fs/cgroup:ro \
    --volume /etc/homeport:/etc/homeport:ro --volume /etc/machine-id:/etc/machine-id:ro \
    --volume /var/lib/homeport:/var/lib/homeport --volume /run/homeport:/run/homeport \
    homeport:0.1.0
