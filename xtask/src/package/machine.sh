#!/bin/sh
# The first process of a machine for packages: a bare Debian with systemd, in namespaces of its own. Its files are those
# of $1 with a layer in memory; its control groups begin with the group that this process was put into.
set -e
base=$1 work=$2
mount --make-rprivate /
mount -t tmpfs layer "$work"
mkdir "$work/upper" "$work/work" "$work/root"
root=$work/root
mount -t overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/work" machine "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sys "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t bpf -o mode=700 bpf "$root/sys/fs/bpf"
mount -t tmpfs -o mode=755 run "$root/run"
# Programs in the kernel tell processes by their numbers outside of all namespaces: this is where those are found.
mkdir "$root/run/host-proc"
mount --rbind /proc "$root/run/host-proc"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o mode=755 dev "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs shm "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
echo storage-1 > "$root/etc/hostname"
ip link set lo up
cd "$root"
exec chroot . /usr/bin/env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console
