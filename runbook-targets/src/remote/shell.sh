# What a shell of the pool is told first. `_n` begins each word to this program, `_p` the name of
# each command; `_w` is what watches over it, if that is not somebody else's task. Its own messages
# go nowhere: bash would put whole commands, secrets included, into them.
exec 3>&2 2>/dev/null
trap : HUP INT QUIT TERM USR1 USR2 ALRM
unset RUNBOOK_LIFE RUNBOOK_UNIT RUNBOOK_COMMAND
# Ready. Whoever waits for that need not wait for the rest.
printf '%s+%s%s\n' "$_n" $$ "${BASH_VERSION:+ bash}"
printf '%s+\n' "$_n" >&3
if [ "$_w" ]; then
    (
        trap 'kill "$_nap"; exit' TERM
        trap '' HUP INT QUIT PIPE
        exec >/dev/null 3>&-
        sleep "$_beat" &
        _nap=$!
        wait "$_nap"
        eval "$_w"
    ) &
    _f=$!
    trap 'kill "$_f"' 0
fi
# `_a` becomes the last process id that was given.
_l() { read -r _x _x _x _x _a </proc/loadavg; }
# The last process id before a command; what was born before that was seen is left alone.
_b() { if _l; then _b=$_a; else _b=; fi; }
# The program was refused, with what the shell made of it.
_r() { set -- "${1:-$?}"; trap - 0; printf '%s!%s\n' "$_n" "$1"; exit 126; }
# How a command ended; and whether a process that was born since holds its streams open: 1 one
# does, then this shell goes, so that the streams end when that process does; 2 it can't be told.
# Most of those that were born are gone by now: ten at a time cost little more than one.
_e() {
    set -- $? 0
    if [ "$_b" ] && _l; then
        [ "$_a" -ge "$_b" ] || set -- $1 2
        while [ "$_b" -lt "$_a" ]; do
            _x=$(((_b + 1) / 10))
            if [ -d /proc/${_x}0 -o -d /proc/${_x}1 -o -d /proc/${_x}2 -o -d /proc/${_x}3 -o \
                -d /proc/${_x}4 -o -d /proc/${_x}5 -o -d /proc/${_x}6 -o -d /proc/${_x}7 -o \
                -d /proc/${_x}8 -o -d /proc/${_x}9 ]
            then
                _x=$((_x * 10 + 9))
                [ "$_x" -le "$_a" ] || _x=$_a
                while [ "$_b" -lt "$_x" ]; do
                    _b=$((_b + 1))
                    [ -d /proc/$_b ] && _h $_b
                    case $? in 3) set -- $1 1 ;; 4) [ $2 = 1 ] || set -- $1 2 ;; esac
                done
            else
                _b=${_x}9
            fi
        done
        _b=$_a
    fi
    _d $1 $2
    [ $2 != 1 ] || exit
}
# Whether a process holds them: 3 yes, 4 it can't be told. Few have anything of their kind there.
_h() {
    if [ $_t /proc/$1/fd/1 ] && { [ /proc/$1/fd/1 -ef /proc/$$/fd/1 ] || [ /proc/$1/fd/1 -ef /proc/$$/fd/3 ]; }
    then return 3; fi
    if [ $_t /proc/$1/fd/2 ] && { [ /proc/$1/fd/2 -ef /proc/$$/fd/3 ] || [ /proc/$1/fd/2 -ef /proc/$$/fd/1 ]; }
    then return 3; fi
    [ -r /proc/$1/fd ] || [ ! -d /proc/$1 ] || return 4
}
# The kind of both.
_t=-e
[ ! -p /proc/$$/fd/1 ] || [ ! -p /proc/$$/fd/3 ] || _t=-p
[ ! -S /proc/$$/fd/1 ] || [ ! -S /proc/$$/fd/3 ] || _t=-S
# Says so.
_d() {
    printf '%s=%s\n' "$_n" $2 >&3
    printf '%s=%s %s\n' "$_n" $1 $2
}
_b
