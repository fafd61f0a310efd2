#!/busybox sh
# The first process of the machine until its disk is mounted; then systemd is. A panic ends the machine, so every step
# that fails ends this script.
b=/busybox
give_up() { echo "vm: $1"; $b sleep 1; $b poweroff -f; }

$b mkdir -p /proc /sys /dev /disk
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
while read -r module; do
    $b insmod "/modules/$module" || give_up "cannot load $module"
done </modules/order
for wait in 1 2 3 4 5 6 7 8 9 10; do
    if $b test -b /dev/vda; then break; fi
    $b sleep 1
done
$b mount -t ext4 /dev/vda /disk || give_up "cannot mount the disk"
for directory in proc sys dev; do
    $b mount --move "/$directory" "/disk/$directory"
done
exec $b switch_root /disk /sbin/init
