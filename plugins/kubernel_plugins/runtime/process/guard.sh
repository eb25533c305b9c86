# Ends the containers of a kubernel that died without stopping them.
#
# usage: guard.sh MARKER    with a pipe from kubernel as standard input
#
# Kubernel writes "done" when it stops in order. When the pipe ends without that, every process whose
# environment holds MARKER, which is unique to that run of kubernel, is killed.

read -r word && [ "$word" = "done" ] && exit 0
rounds=0
while [ "$rounds" -lt 50 ]; do
    found=$(grep -lsF "$1" /proc/[0-9]*/environ)
    [ -n "$found" ] || exit 0
    for file in $found; do
        pid=${file#/proc/}
        kill -9 "${pid%/environ}" 2>/dev/null
    done
    rounds=$((rounds + 1))
done
