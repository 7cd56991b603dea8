#!/bin/sh
# The package in a bare Debian 12: lintian, installation, the element, the programs, and nothing left after a purge. Skipped,
# visibly, where debootstrap cannot run (not root, no Debian packages, no chroot).
#
#   packaging/debian/test.sh PACKAGE.deb                      make test-deb calls it
set -eu
package=$(readlink -f "$1")
cd "$(dirname "$0")/../.."
root=$(pwd)/target/debian/root
skip() { echo "SKIPPED: the package in a bare Debian 12: $*"; exit 0; }

lintian --version >/dev/null 2>&1 || skip "no lintian: apt-get install lintian"
# What lintian takes for errors fails; the rest is shown.
lintian --fail-on error --tag-display-limit 0 "$package"
echo "ok  lintian"

[ "$(id -u)" = 0 ] || skip "run it as root"
command -v debootstrap >/dev/null || skip "apt-get install debootstrap"
base=target/debian/bookworm.tar
if [ ! -e "$base" ]; then
    rm -rf "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase --include=ca-certificates bookworm "$root" ${DEBIAN_MIRROR:-} >target/debian/debootstrap.log 2>&1 ||
        skip "debootstrap: $(tail -n 1 target/debian/debootstrap.log)"
    tar -C "$root" -cf "$base.part" . && mv "$base.part" "$base"
fi
rm -rf "$root"
mkdir -p "$root"
tar -C "$root" -xf "$base"
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf "$root"' EXIT
mount -t proc proc "$root/proc" 2>/dev/null || skip "proc cannot be mounted"
# Where this machine reaches Debian's packages by settings of its own, so does the inside.
for setting in /etc/apt/apt.conf.d/*proxy* /etc/apt/apt.conf.d/*cert* /etc/apt/auth.conf.d/*; do
    [ ! -e "$setting" ] || install -D -m 600 "$setting" "$root$setting"
done
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
[ ! -d /usr/local/share/ca-certificates ] || cp -r /usr/local/share/ca-certificates "$root/usr/local/share/"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" 2>/dev/null || true
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }
files() { (cd "$root" && find . -xdev -path ./proc -prune -o -path ./var/lib/apt -prune -o -path ./var/cache -prune \
    -o -path ./var/log -prune -o -path ./var/lib/dpkg -prune -o -path ./tmp -prune -o ! -type d -print | sort); }

cp "$package" "$root/tmp/package.deb"
inside apt-get update -qq || skip "apt-get update inside"
# What it needs, first, so that what it leaves can be told from what they leave.
needed=$(inside dpkg-deb -f /tmp/package.deb Depends | tr ',' '\n' | sed 's/(.*//; s/|.*//; s/ //g')
# shellcheck disable=SC2086 # One word for each package.
inside apt-get install -y -qq --no-install-recommends $needed >target/debian/apt.log 2>&1 || { tail target/debian/apt.log; exit 1; }
files >target/debian/before
inside apt-get install -y -qq --no-install-recommends /tmp/package.deb >target/debian/apt.log 2>&1 || { tail target/debian/apt.log; exit 1; }
echo "ok  installed"

inside env HOME=/nonexistent gst-inspect-1.0 uretinexenhance >target/debian/inspect
grep -q "URetinex" target/debian/inspect
grep "^  Filename" target/debian/inspect
echo "ok  gst-inspect-1.0 uretinexenhance"
inside gst-launch-1.0 -q videotestsrc num-buffers=3 pattern=black ! video/x-raw,width=64,height=48 ! uretinexenhance ! fakesink
echo "ok  three frames, without HOME, and as nobody:"
inside setpriv --reuid=65534 --regid=65534 --clear-groups \
    gst-launch-1.0 -q videotestsrc num-buffers=3 ! video/x-raw,width=64,height=48 ! uretinexenhance ratio=4 ! fakesink
inside uretinex --version
inside uretinex doctor >target/debian/doctor
for file in usr/share/man/man1/uretinex.1.gz usr/share/bash-completion/completions/uretinex usr/share/uretinexenhance/transcode.sh \
    usr/share/doc/uretinexenhance/copyright; do
    [ -s "$root/$file" ] || { echo "$file is missing"; exit 1; }
done
inside uretinex-service --version
# As it comes it has no camera, which is said; with one it is right.
! inside uretinex-service --check 2>target/debian/check || exit 1
grep -q "no camera" target/debian/check
sed 's/^#\[camera/[camera/; s/^#address/address/' "$root/etc/uretinex/service.toml" >"$root/tmp/service.toml"
inside uretinex-service --check --config /tmp/service.toml
[ -s "$root/lib/systemd/system/uretinex-service.service" ] || [ -s "$root/usr/lib/systemd/system/uretinex-service.service" ]
echo "ok  uretinex-service"

inside apt-get purge -y -qq uretinexenhance >target/debian/apt.log 2>&1 || { tail target/debian/apt.log; exit 1; }
files >target/debian/after
# GStreamer's registry is its own; it is not of the package.
diff target/debian/before target/debian/after | grep -v "gstreamer-1.0/registry" | grep '^[<>]' && { echo "a purge leaves these"; exit 1; }
[ ! -e "$root/etc/uretinex" ] || { echo "a purge leaves /etc/uretinex"; exit 1; }
echo "ok  purged, nothing left"
