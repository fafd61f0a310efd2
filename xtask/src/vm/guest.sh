# What a booted system has before the tests start; then the tests, with their output on the second serial line.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TMPDIR=/tmp
machine=/run/homeport-vm
read -r up _ </proc/uptime
echo "vm: root mounted after $up s"

mkdir -p /lib/modules /dev/pts /dev/shm /run/netns /run/lock
mount --bind "$HOMEPORT_MODULES" /lib/modules
# Opening it loads the module, but without udev nobody makes the node.
mkdir -p /dev/net
mknod /dev/net/tun c 10 200
mount -t devpts -o gid=5,mode=620 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up
# A service is in a cgroup of its own, not in the root.
mkdir /sys/fs/cgroup/tests.service
echo $$ >/sys/fs/cgroup/tests.service/cgroup.procs

read -r up _ </proc/uptime
echo "vm: ready after $up s"
stty -F /dev/ttyS1 raw -echo
. "$machine/job.sh" >/dev/ttyS1 2>&1
echo "$failures" >"$machine/status"
sync
echo "vm: done"
sleep 1
echo b >/proc/sysrq-trigger
