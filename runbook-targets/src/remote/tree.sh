# Finds processes that belong together, and ends them. Told before: `_self`, the id of the process that
# runs this; `_proc` is where /proc is; `_life` matches the marks of its shells; `_grace` is in tenths
# of a second; `_alone` are the commands with a channel of their own, `_pids` ids of shells.

# `_all` becomes `id:parent:state` of every process.
table() {
    _all=
    if [ -r "$_proc/self/status" ]; then
        for _w in $(grep -E '^(State|PPid):' "$_proc"/[0-9]*/status /dev/null | sed -n '
            s,.*/\([0-9]*\)/status:State:[^A-Za-z]*\(.\).*,\1:\2,p
            s,.*/\([0-9]*\)/status:PPid:[^0-9]*,\1=,p'); do
            case $_w in
            *:*) _id=${_w%:*} _state=${_w#*:} ;;
            *) [ "${_w%=*}" != "$_id" ] || _all="$_all $_id:${_w#*=}:$_state" ;;
            esac
        done
    else
        _all=$(ps -A -o pid= -o ppid= -o stat= |
            sed 's/^ *\([0-9]*\)  *\([0-9]*\)  *\(.\).*/\1:\2:\3/')
    fi
}

# The processes with a record in their environment that matches; the arguments are grep's.
with() {
    [ -r "$_proc/self/status" ] || return 0
    for _f in $(grep -szl "$@" "$_proc"/[0-9]*/environ); do
        _f=${_f%/environ}
        echo "${_f##*/}"
    done
}

# `_birth` becomes the id of a process with the time of its start: that names no other one.
birth() {
    _birth=$1
    if [ -r "$_proc/$1/stat" ] && read -r _l <"$_proc/$1/stat"; then
        set -- "$1" ${_l##*) }
        [ $# -lt 21 ] || _birth="$1@${21}"
    fi
}

# Adds to `_tree` what descends from it.
grow() {
    _more=1
    while [ "$_more" ]; do
        _more=
        for _w in $_all; do
            _id=${_w%%:*} _parent=${_w#*:} _parent=${_parent%:*}
            case $_tree in *" $_id "*) continue ;; esac
            case $_tree in *" $_parent "*) _tree="$_tree$_id " _more=1 ;; esac
        done
    done
}

# `_roots` becomes the shells whose mark matches, `_tree` what descends from them. What a shell
# forked and what is no program yet bears its mark too.
shells() {
    _marked=' ' _roots=' '
    # Where the marks can be seen, an id alone is not trusted.
    [ ! -r "$_proc/self/status" ] || _pids=
    for _p in $(with -e "^RUNBOOK_LIFE=$1") $_pids; do _marked="$_marked$_p "; done
    for _w in $_all; do
        _id=${_w%%:*} _parent=${_w#*:} _parent=${_parent%:*}
        case $_marked in *" $_id "*) ;; *) continue ;; esac
        case $_marked in *" $_parent "*) ;; *) _roots="$_roots$_id " ;; esac
    done
    _tree=$_marked
    grow
}

add() { for _p in "$@"; do _tree="$_tree$_p "; done; }

# All that runs below the shells whose mark matches `_life`, and `_alone`.
whole_tree() {
    shells "$_life"
    set --
    for _p in $_tree; do set -- "$@" "$_proc/$_p/environ"; done
    _running=$_alone
    if [ $# -gt 0 ] && [ -r "$_proc/self/status" ]; then
        _running="$_running $(grep -szh '^RUNBOOK_COMMAND=' "$@" | tr '\0' '\n' | sort -u)"
    fi
    set --
    for _p in $_running; do set -- "$@" -e "$_p"; done
    [ $# -eq 0 ] || add $(with -xF "$@")
}

# `_found` becomes the living ones of what `_which` finds, the shells and this one's own helpers aside.
look() {
    table
    _tree=" $_self "
    grow
    _own=$_tree _roots=' ' _tree=' '
    $_which
    # One that was found stays one of them when its parent is gone.
    for _w in $_known; do
        birth "${_w%@*}"
        [ "$_birth" != "$_w" ] || add "${_w%@*}"
    done
    grow
    _found=
    for _w in $_all; do
        _id=${_w%%:*}
        case $_w in *:[ZX]*) continue ;; esac
        case "$_roots 1 $_own" in *" $_id "*) continue ;; esac
        case $_tree in *" $_id "*) ;; *) continue ;; esac
        _found="$_found $_id"
        birth "$_id"
        case "$_known " in *" $_birth "*) ;; *) _known="$_known $_birth" ;; esac
    done
}

line() {
    _line=
    [ ! -r "$_proc/$1/cmdline" ] || _line=$(tr '\0\n' '  ' <"$_proc/$1/cmdline")
    [ "$_line" ] || _line=$(ps -o args= -p "$1")
    echo "${_line% } (process $1)"
}

# Ends them: SIGTERM, and SIGKILL after $1 tenths of a second. Says which if $2 is given.
end() {
    _left=$1 _known= _heard=' '
    while look; [ "$_found" ]; do
        for _p in $_found; do
            case $_heard in
            *" $_p "*) ;;
            *)
                _heard="$_heard$_p "
                [ -z "$2" ] || echo "$2 -$(line "$_p")"
                if [ "$_left" -gt 0 ]; then
                    kill -TERM "$_p"
                    kill -CONT "$_p"
                fi
                ;;
            esac
            [ "$_left" -gt 0 ] || kill -KILL "$_p"
        done
        if [ "$_left" -lt -50 ]; then
            _still=
            for _p in $_found; do _still="$_still, $(line "$_p")"; done
            return 1
        fi
        _left=$((_left - 1))
        sleep 0.1 || { sleep 1; _left=$((_left - 9)); }
    done
}
