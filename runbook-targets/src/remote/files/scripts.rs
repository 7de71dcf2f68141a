//! What is run over there, as bodies of functions. Errors end as the system words them: the last
//! words of the last line say which it was. (A shell words its own differently, so a tool looks
//! again at a folder in which a shell could make no file.)

/// What is run over there under its name.
pub(in super::super) struct Script {
    pub(in super::super) name: &'static str,
    pub(in super::super) text: &'static str,
    /// It changes nothing of the shell that runs it, which then need not make a copy of itself.
    pub(in super::super) inline: bool,
}

impl Script {
    pub(in super::super) const fn subshell(name: &'static str, text: &'static str) -> Self {
        Self { name, text, inline: false }
    }

    const fn inline(name: &'static str, text: &'static str) -> Self {
        Self { name, text, inline: true }
    }
}

/// The first `$2` bytes of a file.
pub(super) const READ: Script = Script::inline(
    "read",
    r#"
[ ! -d "$1" ] || { echo 'is a directory' >&2; return 1; }
[ ! -e "$1" ] || [ -f "$1" ] || { echo 'not an ordinary file' >&2; return 1; }
LC_ALL=C head -c "$2" "$1"
"#,
);

/// Says `o` once the file is open, then its content.
pub(in super::super) const DOWNLOAD: &str = r#"
export LC_ALL=C
[ ! -d "$1" ] || { echo 'is a directory' >&2; exit 1; }
[ ! -e "$1" ] || [ -f "$1" ] || { echo 'not an ordinary file' >&2; exit 1; }
exec <"$1" || exit 1
printf o
exec cat
"#;

/// What the scripts that make a file begin with: `$1` is its temporary name, `$2` its place. `was`
/// becomes the mode of the file that it replaces.
macro_rules! begin {
    () => {
        r#"
export LC_ALL=C
t=$1 was=
[ ! -d "$2" ] || [ -L "$2" ] || { echo 'is a directory' >&2; exit 1; }
if [ -f "$2" ] && [ ! -L "$2" ]; then
    was=$(stat -c '%a %u:%g' "$2") || exit 1
    owner=${was#* } was=${was% *}
    if [ -O "$2" ] && [ -G "$2" ]; then owner=; fi
fi
trap 'rm -f "$t"' 0
trap 'exit 1' HUP INT TERM
set -C
"#
    };
}

/// And what they end with: `$mode` is what it is to have, if that matters; `$3` is its folder.
macro_rules! end {
    () => {
        r#"
if [ "$was" ] && { [ "$owner" ] || [ ! -G "$t" ]; }; then
    [ "$owner" ] || owner=$(stat -c '%u:%g' "$2")
    chown "$owner" "$t" 2>/dev/null || mode=$(printf %o $((0$mode & 01777)))
fi
[ -z "$mode" ] || chmod "$mode" "$t" || exit 1
sync "$t" 2>/dev/null || sync
mv -fT "$t" "$2" 2>/dev/null || {
    # BusyBox follows a link there, to a folder or in circles.
    if [ -L "$2" ] && { [ -d "$2" ] || [ ! -e "$2" ]; }; then rm -f "$2"; fi
    mv -fT "$t" "$2" || exit 1
}
trap - 0
sync "$3" 2>/dev/null || :
"#
    };
}

/// `$4` is the mode, `$5` says that it matters more than that of a file there, `$6` is the mask
/// that makes a new file of this mode, `$7` the format of the content.
/// The second `printf` is for the words of `cat`: those of a shell may not say why it failed.
pub(super) const WRITE: Script = Script::subshell(
    "write",
    concat!(
        begin!(),
        r#"
mode=
if [ "$was" ]; then
    umask 077
    mode=$was
    [ -z "$5" ] || mode=$4
elif [ "$6" ]; then
    umask "$6"
elif [ "$4" ]; then
    umask 077
    mode=$4
else
    umask go-w
fi
command exec 4>"$t" || { stat "$3/." >/dev/null; exit 1; }
printf "$7" >&4 || { printf "$7" | cat >&4; exit 1; }
"#,
        end!()
    ),
);

/// Puts a file at its place; `$4` and `$5` as above. `$6` is its size and `$7` what `sha256sum`
/// says of it, if it said it.
pub(in super::super) const PUT: Script = Script::subshell(
    "put",
    concat!(
        begin!(),
        r#"
mode=$4
if [ "$was" ] && [ -z "$5" ]; then mode=$was; fi
[ "$mode" ] || mode=$(printf %o $((0644 & ~$(umask))))
"#,
        end!()
    ),
);

/// Copies `$4`. What goes wrong with that has the exit code 3.
pub(super) const COPY: Script = Script::subshell(
    "copy",
    concat!(
        begin!(),
        r#"
[ ! -d "$4" ] || { echo 'is a directory' >&2; exit 3; }
[ ! -e "$4" ] || [ -f "$4" ] || { echo 'not an ordinary file' >&2; exit 3; }
mode=$(stat -Lc %a "$4") || exit 3
umask 077
head -c 0 "$4" || exit 3
command exec 4>"$t" || { stat "$3/." >/dev/null; exit 1; }
cat "$4" >&4 || exit 1
"#,
        end!()
    ),
);

/// Fills a new file, that nobody else may read yet, and says its size, and its hash if it can and
/// is asked to (`$2`). `$3` is its folder. The file is opened once only: one that was removed does
/// not come again.
///
/// GNU's `dd` can tell the system to let go of what it has written, and the system writes that to
/// the disk first: the rest of the content comes meanwhile, and little is left to be synced at the
/// end. (For `sha256sum`, few systems use the instructions that processors have for it.)
pub(in super::super) const FILL: &str = r#"
export LC_ALL=C
umask 077
set -C
command exec 4>"$1" || { stat "$3/." >/dev/null; exit 1; }
store='dd bs=1M iflag=fullblock oflag=nocache status=none'
$store count=0 </dev/null >&4 2>/dev/null || store=cat
sum=
if [ "$2" ] && [ -e /dev/fd/4 ]; then
    sum='openssl dgst -sha256 -r'
    $sum </dev/null >/dev/null 2>&1 || sum=sha256sum
    command -v ${sum%% *} >/dev/null || sum=
fi
if [ "$sum" ]; then
    sum=$({ tee /dev/fd/3 | $store >&4; } 3>&1 | $sum) || exit 1
else
    $store >&4 || exit 1
fi
wc -c <"$1" && echo "${sum%% *}"
"#;

/// About one file; then where a link points.
pub(super) const STAT: Script = Script::inline(
    "stat",
    r#"
LC_ALL=C stat -c '%f %s %u %g %Y %y' "$1" || return 1
if [ -L "$1" ]; then readlink -n "$1"; fi
"#,
);

/// For each: a line about it, its path, NUL, where it points, NUL.
pub(super) const LIST: Script = Script::subshell(
    "list",
    r#"
export LC_ALL=C
if [ -e "$1" ] && [ ! -d "$1" ]; then echo 'Not a directory' >&2; exit 1; fi
case $1 in /*) cd / ;; esac  # find comes back to where it was, where it may not be let in
exec find "$1/" -mindepth 1 -maxdepth 1 -exec sh -c '
say() {
    printf "%s\n%s\0" "$1" "$2"
    if [ -L "$2" ]; then readlink -n "$2"; fi
    printf "\0"
}
format="%f %s %u %g %Y %y"
if all=$(stat -c "$format" "$@" 2>/dev/null); then
    for file do
        say "${all%%
*}" "$file"
        all=${all#*
}
    done
else
    for file do
        one=$(stat -c "$format" "$file" 2>/dev/null) && say "$one" "$file"
    done
    :
fi' sh {} +
"#,
);

pub(super) const MKDIR: Script = Script::inline(
    "mkdir",
    r#"
LC_ALL=C mkdir -p "$1" || { [ ! -L "$1" ] || echo 'File exists' >&2; return 1; }
"#,
);

/// A rename never copies. `$3` and `$4` are the folders.
pub(super) const RENAME: Script = Script::subshell(
    "rename",
    r#"
export LC_ALL=C
from=$(stat -c %d "$1") && to=$(stat -Lc %d "$4") || exit 1
[ ! "$1" -ef "$2" ] || [ -L "$1" ] || [ -L "$2" ] || exit 0
folder() { [ -d "$1" ] && [ ! -L "$1" ]; }
if folder "$1"; then
    [ ! -e "$2" ] && [ ! -L "$2" ] || folder "$2" || { echo 'Not a directory' >&2; exit 1; }
else
    ! folder "$2" || { echo 'Is a directory' >&2; exit 1; }
fi
[ "$from" = "$to" ] || { echo 'Invalid cross-device link' >&2; exit 1; }
mv -fT "$1" "$2" 2>/dev/null || {
    if [ -L "$2" ] && { [ -d "$2" ] || [ ! -e "$2" ]; }; then rm -f "$2"; fi
    mv -fT "$1" "$2" || exit 1
}
sync "$4" 2>/dev/null || :
[ "$3" = "$4" ] || sync "$3" 2>/dev/null || :
"#,
);

/// `$1` is where it points, `$2` its temporary name, `$3` its place and `$4` the folder of that.
pub(super) const LINK: Script = Script::subshell(
    "link",
    r#"
export LC_ALL=C
[ ! -d "$3" ] || [ -L "$3" ] || { echo 'Is a directory' >&2; exit 1; }
t=$2
trap 'rm -f "$t"' 0
trap 'exit 1' HUP INT TERM
ln -s -- "$1" "$t" || exit 1
mv -fT "$t" "$3" 2>/dev/null || {
    if [ -L "$3" ] && { [ -d "$3" ] || [ ! -e "$3" ]; }; then rm -f "$3"; fi
    mv -fT "$t" "$3" || exit 1
}
trap - 0
sync "$4" 2>/dev/null || :
"#,
);

pub(super) const CHMOD: Script = Script::inline(
    "chmod",
    r#"
[ -e "$1" ] || LC_ALL=C stat -L "$1" >/dev/null || return 1
LC_ALL=C chmod "$2" "$1"
"#,
);

pub(super) const REMOVE: Script = Script::inline(
    "remove",
    r#"
if [ -d "$1" ] && [ ! -L "$1" ]; then LC_ALL=C rmdir "$1"; else LC_ALL=C rm -f "$1"; fi
"#,
);

pub(super) const REMOVE_TREE: Script = Script::inline(
    "rmtree",
    r#"
LC_ALL=C rm -rf "$1"
"#,
);
