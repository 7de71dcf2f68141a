# What a shell of the pool is told first. `_n` begins each word to this program, `_p` the name of
# each command; `_w` is what watches over it, if that is not somebody else's task. Its own messages
# go nowhere: bash would put whole commands, secrets included, into them.
exec 3>&2 2>/dev/null
trap : HUP INT QUIT TERM USR1 USR2 ALRM
unset RUNBOOK_LIFE RUNBOOK_UNIT RUNBOOK_COMMAND
_x=${BASH_VERSION:+ bash}${KSH_VERSION:+ ksh}${YASH_VERSION:+ yash}${ZSH_VERSION:+ zsh}
if [ "$BB_ASH_VERSION" ] || [ /proc/$$/exe -ef /bin/busybox ]; then _x=' busybox'; fi
printf '%s+%s%s\n' "$_n" $$ "$_x"
printf '%s+\n' "$_n" >&3
if [ "$_w" ]; then
    (
        trap - TERM
        trap '' HUP INT QUIT PIPE
        exec >/dev/null 3>&-
        sleep "$_beat"
        eval "$_w"
    ) &
    _f=$!
    # It goes with its shell, and so does what it waits for, unless its id is another's by now.
    trap 'if read -r _x _x _x _x _y </proc/$_f/stat && [ "$_x" = $$ ]; then
        _y=
        read -r _y </proc/$_f/task/$_f/children
        kill $_f $_y
    fi' 0
    unset _w
fi
# The program was refused, with what the shell made of it.
_r() { set -- "${1:-$?}"; trap - 0; printf '%s!%s\n' "$_n" "$1"; exit 126; }
# The last process id before a command.
_b() { read -r _x _x _x _x _b </proc/loadavg || _b=; }
# How a command ended; and whether a process that was born since holds its streams open: 1 one
# does, then this shell goes, so that the streams end when that process does; 2 it can't be told.
_e() {
    set -- $? 0
    if [ "$_b" ] && read -r _x _x _x _x _a </proc/loadavg; then
        [ "$_a" -ge "$_b" ] || set -- $1 2
        while [ "$_b" -lt "$_a" ]; do
            _b=$((_b + 1))
            [ -d /proc/$_b ] || continue
            if [ /proc/$_b/fd/1 -ef /proc/$$/fd/1 -o /proc/$_b/fd/2 -ef /proc/$$/fd/3 \
                -o /proc/$_b/fd/1 -ef /proc/$$/fd/3 -o /proc/$_b/fd/2 -ef /proc/$$/fd/1 ]
            then set -- $1 1
            elif [ ! -r /proc/$_b/fd ] && [ -d /proc/$_b ]; then set -- $1 $(($2 ? $2 : 2)); fi
        done
        _b=$_a
    fi
    _d $1 $2
    [ $2 != 1 ] || exit
}
# Says so.
_d() {
    printf '%s=%s %s\n' "$_n" $1 $2
    printf '%s=%s %s\n' "$_n" $1 $2 >&3
}
