# Joins its standard streams to a socket. `$1` is `tcp` or `unix`; `$2` is a name and `$3` a port, or
# `$2` is a path. Says `+` once it is joined, `-` and why if nothing takes the connection, `!` if there
# is no program that can do it.
has() { command -v "$1" >/dev/null 2>&1; }
refused() { printf -- '-%s' "${1:-refused}"; exit 1; }

if has perl && perl -MSocket=getaddrinfo -e 1 2>/dev/null; then
    exec perl -e '
        use Socket qw(:DEFAULT getaddrinfo IPPROTO_TCP TCP_NODELAY);
        my ($kind, $name, $port) = @ARGV;
        my ($s, $joined);
        if ($kind eq "unix") {
            socket($s, PF_UNIX, SOCK_STREAM, 0) or refused($!);
            $joined = connect($s, pack_sockaddr_un($name)) or refused($!);
        } else {
            my ($error, @found) = getaddrinfo($name, $port, {socktype => SOCK_STREAM});
            refused($error) if $error;
            my $why;
            for my $a (@found) {
                socket($s, $a->{family}, SOCK_STREAM, 0) or next;
                if (connect($s, $a->{addr})) { $joined = 1; last }
                $why = "$!";
            }
            refused($why) unless $joined;
            setsockopt($s, IPPROTO_TCP, TCP_NODELAY, 1);
        }
        say_all(*STDOUT, "+");
        my $me = $$;
        # The service is done: so is this.
        $SIG{CHLD} = sub { exit };
        my $reader = fork;
        if (!$reader) {
            $SIG{CHLD} = "DEFAULT";
            while (sysread($s, my $b, 65536)) { say_all(*STDOUT, $b) }
            exit;
        }
        while (sysread(STDIN, my $b, 65536)) { say_all($s, $b) }
        shutdown($s, 1);
        waitpid($reader, 0);
        sub refused { print "-", $_[0]; exit 1 }
        sub say_all {
            my ($to, $bytes) = @_;
            my $at = 0;
            while ($at < length $bytes) {
                my $n = syswrite($to, $bytes, length($bytes) - $at, $at);
                exit unless $n;
                $at += $n;
            }
        }' "$@"
fi
if has socat; then
    if [ "$1" = unix ]; then to=UNIX-CONNECT:$2; else to=TCP:$2:$3; fi
    # Only tried: it says nothing when it is joined.
    why=$(socat -u OPEN:/dev/null "$to" 2>&1) || refused "${why##*: }"
    [ "$1" = unix ] || to=$to,nodelay
    printf +
    exec socat -t 86400 - "$to"
fi
if has nc && [ "$1" = tcp ]; then
    help=$(nc -h 2>&1)
    # Only tried, likewise.
    case $help in
    *-z*) why=$(nc -z "$2" "$3" </dev/null 2>&1) || refused "${why##*: }" ;;
    *) why=$(nc "$2" "$3" -e true </dev/null 2>&1) || refused "${why##*: }" ;;
    esac
    printf +
    case $help in
    *'-N'*'hutdown'*) exec nc -N "$2" "$3" ;;
    *'-q secs'*) exec nc -q 10 "$2" "$3" ;;
    *) exec nc "$2" "$3" ;;
    esac
fi
if has bash && [ "$1" = tcp ]; then
    exec bash -c '
        why=$( { exec 3<>"/dev/tcp/$1/$2"; } 2>&1 ) || { printf -- "-%s" "${why##*: }"; exit 1; }
        exec 3<>"/dev/tcp/$1/$2" 4<&0 </dev/null
        printf +
        cat <&3 2>/dev/null &
        reader=$!
        exec >/dev/null 2>&1
        { cat <&4 >&3; sleep 10; } &
        wait -n
        kill "$reader" "$!"' bash "$2" "$3"
fi
printf !
