//! Filling a database that is new and that nobody uses yet.

use runbook_core::{Context, Result};

use super::restore::all_there;
use super::rows::RowCounts;
use super::verify::{SUM_OF, as_recorded, changed, sum_in};
use super::{Dump, Format, Verified};
use crate::client::Postgres;
use crate::databases::create_like;
use crate::identifier::{identifier, literal};
use crate::program::Program;

/// Makes the database `new`, which is like `db`, and fills it from a dump.
///
/// The dump's checksum is computed while it is read: nobody uses `new`, and nobody will unless the
/// two were the same.
pub(super) async fn make(
    cx: &Context,
    db: &Postgres,
    new: &Postgres,
    dump: &Verified<Dump>,
) -> Result<RowCounts> {
    as_recorded(cx, new, dump).await?;
    let session = db.maintenance().session(cx).await?.unlimited().await?;
    drop_left(&session, new).await?;
    create_like(&session, db.database(), new.database()).await?;
    let in_part = extensions(cx, db, new).await?;
    fill(cx, new, dump, in_part).await?;
    let rows = RowCounts::count(&new.session(cx).await?.unlimited().await?).await?;
    all_there(new, dump, &rows)?;
    Ok(rows)
}

/// Drops what an attempt before this one has left, with what still fills it.
pub(super) async fn drop_left(session: &crate::session::Session<'_>, new: &Postgres) -> Result<()> {
    let name = identifier(new.database());
    session.batch(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
}

/// What is run there: the dump is read by `fill` and by `sum`, at the same time. Its words are
/// those of the format, and `-in-part` where comments on extensions are left out: only the owner of
/// an extension may comment it.
const FILL: &str = concat!(
    SUM_OF!(),
    r#"
into() {
    psql --no-psqlrc --no-password --quiet --output=/dev/null --set=ON_ERROR_STOP=1 --file=-
}
in_part() {
    awk '
        copying { print; if ($0 == "\\.") copying = 0; next }
        /^COPY .* FROM stdin;$/ { copying = 1; print; next }
        /^-- Name: EXTENSION .*; Type: COMMENT; / { comment = 1; print; next }
        /^-- (Data for )?Name: / { comment = 0 }
        comment && !/^(--.*)?$/ { next }
        { print }
    '
}
plain() {
    case $1 in
        plain-in-part) in_part <"$2" ;;
        gzip) gzip -dc -- "$2" ;;
        gzip-in-part) gzip -dc -- "$2" | in_part ;;
    esac
}
fill() {
    case $1 in
        plain) into <"$2" ;;
        custom)
            pg_restore --no-password --exit-on-error --jobs="$3" --dbname="$PGDATABASE" -- "$2"
            ;;
        custom-in-part)
            list=$(pg_restore --list -- "$2") || return
            printf '%s\n' "$list" | grep -v ' COMMENT - EXTENSION ' |
                pg_restore --use-list=/dev/stdin --no-password --exit-on-error --jobs="$3" \
                    --dbname="$PGDATABASE" -- "$2"
            ;;
        *)
            read_to_end=$({ { plain "$1" "$2"; echo $? >&3; } | into; } 3>&1) || return
            return "${read_to_end:-1}"
            ;;
    esac
}
# Small ones gain nothing by more connections than one.
jobs=1
[ "$3" -lt 8388608 ] || jobs=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
[ "$jobs" -le 4 ] || jobs=4
sum_of "$2" &
summing=$!
fill "$1" "$2" "$jobs"
filled=$?
if [ "$filled" -ne 0 ]; then
    kill "$summing" 2>/dev/null
    exit "$filled"
fi
wait "$summing" || exit
# A dump holds no statistics, and a planner without them is slow.
vacuumdb --analyze-only --no-password --quiet --jobs="$jobs" --dbname="$PGDATABASE"
"#
);

async fn fill(cx: &Context, new: &Postgres, dump: &Verified<Dump>, in_part: bool) -> Result<()> {
    let (way, program) = match (dump.format, in_part) {
        (Format::Plain, false) => ("plain", "psql"),
        (Format::Plain, true) => ("plain-in-part", "psql"),
        (Format::Gzip, false) => ("gzip", "psql"),
        (Format::Gzip, true) => ("gzip-in-part", "psql"),
        (Format::Custom, false) => ("custom", "pg_restore"),
        (Format::Custom, true) => ("custom-in-part", "pg_restore"),
    };
    let file = dump.path.display().to_string();
    let shown = format!("restore {} into {}", runbook_core::quote(&file), new.database());
    let output = Program::script(new, program, FILL, &[way, &file, &dump.bytes.to_string()], shown)
        .application("runbook restore".into())
        // Nobody waits for its commits: that of the swap makes all before it durable.
        .settings("-c statement_timeout=0 -c synchronous_commit=off")
        .run(cx)
        .await?;
    match sum_in(&output.text()) {
        Some(sum) if sum == dump.sha256 => Ok(()),
        Some(sum) => Err(changed(dump, format!("its SHA-256 is {sum}, and was {}", dump.sha256))),
        None => Err(changed(dump, "its SHA-256 could not be computed".into())),
    }
}

/// Makes the extensions that are there and that our role did not make, often because it may not.
/// Says whether there are any.
async fn extensions(cx: &Context, db: &Postgres, new: &Postgres) -> Result<bool> {
    let others: Vec<(String, Option<String>)> = db
        .session(cx)
        .await?
        .query(
            "SELECT extname::text, obj_description(e.oid, 'pg_extension') \
             FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace \
             WHERE nspname = 'public' AND NOT pg_has_role(extowner, 'USAGE') ORDER BY e.oid",
            &[],
        )
        .await?;
    if others.is_empty() {
        return Ok(false);
    }
    let admin = new.as_administrator(new.database()).session(cx).await?.unlimited().await?;
    for (name, comment) in others {
        let name = identifier(&name);
        admin.batch(&format!("CREATE EXTENSION IF NOT EXISTS {name} SCHEMA public")).await?;
        let comment = comment.map_or_else(|| "NULL".into(), |comment| literal(&comment));
        admin.batch(&format!("COMMENT ON EXTENSION {name} IS {comment}")).await?;
    }
    Ok(true)
}
