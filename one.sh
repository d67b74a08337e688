export KDIR_LOG_DIR=/tmp/t/c/ld
K=${K:-/work/main/target/release/kdir}
for i in $(seq ${1:-5}); do
bash fill.sh; s=$(date +%s.%N); $K -q compact --force t >/dev/null; e=$(date +%s.%N);  echo "ours $(echo "$e-$s"|bc)"
bash fill.sh; s=$(date +%s.%N); cat ld/t-0/*.log >copy; sync copy; e=$(date +%s.%N);  echo "cat $(echo "$e-$s"|bc)"
done
