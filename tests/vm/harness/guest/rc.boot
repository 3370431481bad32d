#!/bin/sh
# Bring the guest up. The kernel hands va_ports and va_blob (from its command line) to init as environment.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /dev/virtio-ports
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o size=75% tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mount -t debugfs debugfs /sys/kernel/debug
while read -r module; do insmod "$module"; done </etc/modules
hostname -F /etc/hostname
ifconfig lo 127.0.0.1 up
/usr/bin/runlevel --set N 2
/etc/rc.ports "$va_ports"
[ -z "$va_blob" ] || python3 -I /harness/blob.pyc "${va_blob%:*}" "${va_blob##*:}"
