export KDIR_LOG_DIR=/tmp/t/c/ld
K=${K:-/work/main/target/release/kdir}
rm -rf ld copy; $K -q create t -c cleanup.policy=compact -c segment.bytes=209715200; $K -q produce t -K '\t' lines; sync; cat ld/t-0/*.log >/dev/null
