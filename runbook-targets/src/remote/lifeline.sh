# Ends what the shells of one connection run: one command when asked, all when nobody is there any
# more (at the end of standard input, or when no sign of life came for long). Told before: what
# tree.sh needs; `_beat` seconds times `_beats` is long. Its input: lines of shell, calls of the
# functions below.

# What belongs together: one command, with its shell or without; one unit's.
command_tree() {
    if [ "$_shell" ]; then shells "$_shell\$"; fi
    add $(with -xF -e "RUNBOOK_COMMAND=$_command")
}
shell_tree() { command_tree; _roots=; }
unit_tree() {
    set --
    for _p in $(with -xF -e "RUNBOOK_UNIT=$_unit"); do set -- "$@" "$_proc/$_p/environ"; done
    [ $# -eq 0 ] || for _p in $(grep -szL -e "^RUNBOOK_COMMAND=$_spare" "$@"); do
        _p=${_p%/environ}
        add "${_p##*/}"
    done
}

answer() { if end "$2" "$3"; then echo "$1 ."; else echo "$1 !${_still#, }"; fi; }

# Ends the command $3 of the shell marked $2 with the id $5, within $4; answers to $1.
k() { _shell=$2 _command=$3 _pids=$5 _which=command_tree; answer "$1" "$4" ''; }

# Ends the shell as well.
K() { _shell=$2 _command=$3 _pids=$5 _which=shell_tree; answer "$1" "$4" ''; }

# Ends what runs for the unit $2, except commands that begin with $3; answers to $1.
l() { _unit=$2 _spare=$3 _which=unit_tree; answer "$1" "$4" "$1"; }

# No file stays under a temporary name. What was to make one may not have begun when it was to end:
# it gets a moment, and what it makes then goes too.
clear() {
    for _p in $_files; do eval "rm -f \"\$_file$_p\""; done
}
forget() {
    clear
    [ "$_files" ] || return 0
    for _w in 1 2 3 4 5; do
        sleep 1
        clear
    done
}

# Everything ends.
all() {
    _which=whole_tree
    end "$_grace" ''
    kill -KILL $_roots
    forget
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
q() { kill "$_watch"; forget; exit; }

exec 2>/dev/null
trap : HUP INT QUIT TERM
# It has work to do when nobody listens any more.
trap '' PIPE
trap '_late=1' USR2
_alone= _files= _pids= _late= _self=$$
birth $$
_me=$_birth
watch
# Whatever was said before is on lines of its own.
printf '\n+\n'
# The signal ends the reading.
while IFS= read -r _say && [ -z "$_late" ]; do eval "$_say"; done
kill "$_watch"
all
