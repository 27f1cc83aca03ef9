#!/bin/busybox sh
# First process of the guest: modules, this machine's root with a writable layer on top, then run.sh in there.
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module" 2>/dev/null; done < /modules/order
mkdir -p /host /top /new
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose hostroot /host
mount -t tmpfs tmpfs /top; mkdir -p /top/upper /top/work
mount -t overlay -o lowerdir=/host,upperdir=/top/upper,workdir=/top/work overlay /new
for each in proc sys dev; do mount --move "/$each" "/new/$each"; done
mount -t tmpfs tmpfs /new/run
cp /run.sh /hci_bridge.py /new/run/
exec switch_root /new /bin/bash /run/run.sh
