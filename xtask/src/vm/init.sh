#!/bin/busybox sh
# The first process of the virtual machine: mounts, runs the tests, says what they said, switches off.
# What the host is to understand begins with `@@`.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
/bin/busybox --install -s /bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /tmp /sys/fs/cgroup
mount -t tmpfs tmpfs /dev/shm
mount -t securityfs securityfs /sys/kernel/security
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
chmod 1777 /dev/shm

# A sync is to reach a real file system: a disk in memory, driven by a module.
insmod /modules/brd.ko rd_nr=1 rd_size=1048576
mke2fs /dev/ram0 >/dev/null
mount -t ext4 /dev/ram0 /tmp || echo "@@failed no ext4 on the disk in memory"
chmod 1777 /tmp
# Block requests of our own; it is a module in all kernels of Debian.
test -f /modules/loop.ko && insmod /modules/loop.ko

echo "@@booted $(uname -r)"
. /environment
# Tests that change the machine ask for this.
export PGSTROBE_SKIPS=/skips PGSTROBE_NOTES=/notes PGSTROBE_OWN_MACHINE=1
touch /skips /notes
cd /tmp
/tests --test-threads=1 $TEST_FILTER 2>&1
echo "@@ended $?"
sed 's/^/@@skip /' /skips
sed 's/^/@@note /' /notes
echo "@@off"
poweroff -f
