# Watches over one shell until there is a lifeline. Ends all that it runs when the server's process
# is gone, or when no lifeline came for long. Told before: what tree.sh needs; `_id` of the lifeline;
# `_beat` seconds times `_beats` is long. One beat has passed.

# Whether there is a lifeline, which then sees to all of it.
taken() {
    if [ -r "$_proc/self/status" ]; then
        [ "$(grep -szlx -e "runbook[.]$_id" "$_proc"/[0-9]*/cmdline)" ]
    else
        ps -A -o args= | grep -q "runbook[.]$_id\$"
    fi
}

# Whether the shell has the parent that it began with.
kept() {
    if [ -r "$_proc/self/stat" ]; then
        read -r _l <"$_proc/$$/stat" || return 1
        set -- ${_l##*) }
        [ "$2" = "$PPID" ]
    else
        set -- $(ps -o ppid= -p $$)
        [ "$1" = "$PPID" ]
    fi
}

_alone= _pids=$$
_self=$(exec sh -c 'echo $PPID')
until taken; do
    _beats=$((_beats - 1))
    if [ "$_beats" -le 0 ] || ! kept; then
        # The shell may end first, and would take it along.
        trap '' TERM
        _which=whole_tree
        end "$_grace" ''
        kill -KILL $_roots
        exit
    fi
    sleep "$_beat"
done
