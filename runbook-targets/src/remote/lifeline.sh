# Ends what the shells of one connection run: one command when asked, all when nobody is there any
# more (at the end of standard input, or when no sign of life came for long). Told before:
# `_life`, the mark of its shells; `_beat` seconds times `_beats` is long; `_grace` is in tenths of
# a second; `_proc` is where /proc is. Its input: lines of shell, calls of the functions below.

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

# What belongs together, in three ways: one command; all that runs; one unit's.
command_tree() {
    if [ "$_shell" ]; then shells "$_shell\$"; fi
    add $(with -xF -e "RUNBOOK_COMMAND=$_command")
}
shell_tree() { command_tree; _roots=; }
whole_tree() {
    shells "$_life\\."
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
unit_tree() {
    set --
    for _p in $(with -xF -e "RUNBOOK_UNIT=$_unit"); do set -- "$@" "$_proc/$_p/environ"; done
    [ $# -eq 0 ] || for _p in $(grep -szL -e "^RUNBOOK_COMMAND=$_spare" "$@"); do
        _p=${_p%/environ}
        add "${_p##*/}"
    done
}

# `_found` becomes the living ones of them, the shells aside.
look() {
    table
    _roots=' ' _tree=' '
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
        case "$_roots 1 $$ " in *" $_id "*) continue ;; esac
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
answer() { if end "$2" "$3"; then echo "$1 ."; else echo "$1 !${_still#, }"; fi; }

# Ends the command $3 of the shell marked $2 with the id $5, within $4; answers to $1.
k() { _shell=$2 _command=$3 _pids=$5 _which=command_tree; answer "$1" "$4" ''; }

# Ends the shell as well.
K() { _shell=$2 _command=$3 _pids=$5 _which=shell_tree; answer "$1" "$4" ''; }

# Ends what runs for the unit $2, except commands that begin with $3; answers to $1.
l() { _unit=$2 _spare=$3 _which=unit_tree; answer "$1" "$4" "$1"; }

# Everything ends.
all() {
    _which=whole_tree
    end "$_grace" ''
    kill -KILL $_roots
    for _p in $_files; do eval "rm -f \"\$_file$_p\""; done
}

# Says when no sign of life was seen for long.
watch() {
    (
        trap '_late=0' USR1
        trap 'kill "$_nap"; exit' TERM
        _late=0
        while [ "$_late" -lt "$_beats" ]; do
            _late=$((_late + 1))
            sleep "$_beat" &
            _nap=$!
            while kill -0 "$_nap"; do wait "$_nap"; done
        done
        # Its id may be another's by now.
        birth $$
        [ "$_birth" != "$_me" ] || kill -USR2 $$
    ) >/dev/null &
    _watch=$!
}

# A sign of life.
b() { kill -USR1 "$_watch" || watch; }

# A command on a channel of its own: it will run, which is answered to $1; it ended.
r() { _alone="$_alone RUNBOOK_COMMAND=$2"; echo "$1 ."; }
e() {
    _rest=
    for _p in $_alone; do [ "$_p" = "RUNBOOK_COMMAND=$1" ] || _rest="$_rest $_p"; done
    _alone=$_rest
}

# A file under a temporary name: it will be there, which is answered to $1; it has its place.
t() { eval "_file$1=\$2"; _files="$_files $1"; echo "$1 ."; }
u() {
    _rest=
    for _p in $_files; do [ "$_p" = "$1" ] || _rest="$_rest $_p"; done
    _files=$_rest
}

# Nothing runs any more.
q() { kill "$_watch"; exit; }

exec 2>/dev/null
trap : HUP INT QUIT TERM
# It has work to do when nobody listens any more.
trap '' PIPE
trap '_late=1' USR2
_alone= _files= _pids= _late=
birth $$
_me=$_birth
watch
# Whatever was said before is on lines of its own.
printf '\n+\n'
# The signal ends the reading.
while IFS= read -r _say && [ -z "$_late" ]; do eval "$_say"; done
kill "$_watch"
all
