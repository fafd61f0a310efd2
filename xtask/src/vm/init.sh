#!/busybox sh
# The first process of the guest: mounts the host's root file system read-only, with a layer in memory to write to, and
# goes on with the script of this run. A panic ends the machine, so every step that fails ends this script.
b=/busybox
give_up() { echo "vm: $1"; $b sleep 1; $b reboot -f; }

$b mkdir -p /proc /sys /dev /host /layer /new
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
while read -r module; do
    $b insmod "/modules/$module" || give_up "cannot load $module"
done </modules/order

options=trans=virtio,version=9p2000.L,msize=512000
$b mount -t 9p -o "ro,cache=loose,$options" host /host || give_up "cannot mount the host's files"
$b mount -t tmpfs layer /layer
$b mkdir /layer/upper /layer/work
$b mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work root /new || give_up "no overlay"
for directory in proc sys dev; do
    $b mount --move "/$directory" "/new/$directory"
done
$b mount -t tmpfs -o mode=755 run /new/run
$b mkdir /new/run/homeport-vm
$b mount -t 9p -o "$options" machine /new/run/homeport-vm || give_up "cannot mount the machine's directory"
exec $b switch_root /new /bin/sh /run/homeport-vm/guest.sh
