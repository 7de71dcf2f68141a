//! Emptying a database and filling it from a dump, in one transaction.

use runbook_core::{About, Context, Input, Irreversible, Observer, Result, Rollback, Step, Visit};
use std::time::Duration;
use tokio::time::timeout;

use super::restore::{Restored, all_there, shown};
use super::rows::RowCounts;
use super::verify::unchanged;
use super::{Dump, Format, Verified};
use crate::client::Postgres;
use crate::config::millis;
use crate::error::Error;
use crate::program::Program;

/// Fills a database from a dump, and from the safety dump if that is undone.
pub(super) struct RestoreInPlace {
    pub(super) db: Postgres,
    pub(super) dump: Input<Verified<Dump>>,
    pub(super) safety: Input<Verified<Dump>>,
}

impl Step for RestoreInPlace {
    type Output = Restored;
    type Rollback = RowCounts;

    fn about(&self) -> About {
        about("restore-in-place", format!("Restore {} from a dump, in place", self.db))
            .doc(
                "It is emptied and filled in one transaction. A rollback fills it from the safety \
                 dump.",
            )
            .arg("db", &self.db)
            .arg("dump", shown(&self.dump))
            .arg("safety", shown(&self.safety))
    }

    fn inputs(&self, visit: &mut dyn Visit) {
        visit.see("dump", &self.dump);
        visit.see("safety", &self.safety);
    }

    async fn run(&self, cx: &Context) -> Result<Restored> {
        // The way back has to be there before anything is dropped.
        let safety = self.safety.get(cx)?;
        if safety.schema_only || safety.database.as_deref() != Some(self.db.database()) {
            return Err(Error::Unsafe {
                place: self.db.to_string(),
                why: format!("{} would not bring back what is there now", *safety),
                next: "take a dump of this database with its rows in the same run, and give that \
                       as the safety dump; nothing was dropped"
                    .into(),
            }
            .into_failure());
        }
        unchanged(cx, &self.db, &safety).await?;
        fill(cx, &self.db, &self.dump.get(cx)?).await
    }
}

impl Rollback<RestoreInPlace> for RowCounts {
    async fn record(step: &RestoreInPlace, cx: &Observer) -> Result<Self> {
        Self::read(&step.db.read(cx).await?.unlimited().await?).await
    }

    async fn rollback(
        &self,
        step: &RestoreInPlace,
        _: Option<&Restored>,
        cx: &Context,
    ) -> Result<()> {
        let safety = step.safety.get(cx)?;
        cx.say(format!("filling {} from {}", step.db, *safety));
        fill(cx, &step.db, &safety).await.map(drop)
    }
}

/// Fills a database from a dump, for good.
pub(super) struct RestoreOver {
    pub(super) db: Postgres,
    pub(super) dump: Input<Verified<Dump>>,
}

impl Step for RestoreOver {
    type Output = Restored;
    type Rollback = Irreversible;

    fn about(&self) -> About {
        about("restore-over", format!("Restore {} from a dump, for good", self.db))
            .doc("It is emptied and filled in one transaction.")
            .arg("db", &self.db)
            .arg("dump", shown(&self.dump))
    }

    fn inputs(&self, visit: &mut dyn Visit) {
        visit.see("dump", &self.dump);
    }

    async fn run(&self, cx: &Context) -> Result<Restored> {
        fill(cx, &self.db, &self.dump.get(cx)?).await
    }
}

fn about(id: &str, title: String) -> About {
    About::new(id, title)
        .preview("in one transaction: drop what is there, then run the dump")
        .repeatable()
}

/// Writes what psql is to run: a transaction that drops all, then the dump, then the end of the
/// transaction only if the dump could be read to its end. A plain dump wraps its large objects
/// into transactions of their own, which would end ours: those two lines are left out. So are
/// comments on extensions where some are another role's: only their owner may comment them.
pub(crate) const FILL: &str = r#"
within() {
    awk '
        copying { print; if ($0 == "\\.") copying = 0; next }
        /^COPY .* FROM stdin;$/ { copying = 1; print; next }
        /^-- Data for Name: .*; Type: BLOBS; / { blobs = 1; print; next }
        /^-- Name: EXTENSION .*; Type: COMMENT; / { comment = 1; print; next }
        /^-- (Data for )?Name: / { blobs = comment = 0 }
        blobs && ($0 == "BEGIN;" || $0 == "COMMIT;") { next }
        comment && !/^(--.*)?$/ { next }
        { print }
    '
}
produce() {
    case $1 in
        plain) cat -- "$2" ;;
        plain-in-part) within <"$2" ;;
        gzip) gzip -dc -- "$2" ;;
        gzip-in-part) gzip -dc -- "$2" | within ;;
        custom) pg_restore --single-transaction --exit-on-error --file=- -- "$2" ;;
        custom-in-part)
            list=$(pg_restore --list -- "$2") || return
            printf '%s\n' "$list" | grep -v ' COMMENT - EXTENSION ' |
                pg_restore --use-list=/dev/stdin --single-transaction --exit-on-error --file=- -- "$2"
            ;;
    esac
}
read_to_end=$(
    {
        {
            printf 'BEGIN;\n%s\n' "$3"
            produce "$1" "$2" && printf '\nCOMMIT;\n'
            echo $? >&3
        } | psql --no-psqlrc --no-password --quiet --output=/dev/null --set=ON_ERROR_STOP=1 --file=-
    } 3>&1
)
ran=$?
[ "$ran" -eq 0 ] || exit "$ran"
exit "${read_to_end:-1}"
"#;

/// Drops all that a dump would make: schemas and what is in `public`, large objects, publications,
/// event triggers. Not the extensions that live in the catalog, or that are another role's: they
/// stay as they are.
const EMPTY: &str = r"
SET client_min_messages = error;
DO $empty$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT evtname AS name FROM pg_event_trigger LOOP
        EXECUTE format('DROP EVENT TRIGGER IF EXISTS %I CASCADE', one.name);
    END LOOP;
    FOR one IN SELECT pubname AS name FROM pg_publication LOOP
        EXECUTE format('DROP PUBLICATION IF EXISTS %I CASCADE', one.name);
    END LOOP;
    FOR one IN
        SELECT nspname AS name FROM pg_namespace n
        WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')
            AND NOT EXISTS (
                SELECT FROM pg_depend
                WHERE classid = 'pg_namespace'::regclass AND objid = n.oid AND deptype = 'e'
            )
    LOOP
        EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', one.name);
    END LOOP;
    FOR one IN
        SELECT what.type, what.identity
        FROM pg_depend d, pg_identify_object(d.classid, d.objid, d.objsubid) what
        WHERE d.refclassid = 'pg_namespace'::regclass
            AND d.refobjid = to_regnamespace('public') AND d.deptype = 'n'
            AND NOT EXISTS (
                SELECT FROM pg_depend e
                WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e'
            )
            AND NOT EXISTS (
                SELECT FROM pg_extension x
                WHERE d.classid = 'pg_extension'::regclass AND d.objid = x.oid
                    AND NOT pg_has_role(x.extowner, 'USAGE')
            )
    LOOP
        CONTINUE WHEN one.identity IS NULL OR one.type = 'default acl';
        IF one.type = 'statistics object' THEN
            EXECUTE format('DROP STATISTICS IF EXISTS %s', one.identity);
        ELSE
            EXECUTE format('DROP %s IF EXISTS %s CASCADE', one.type, one.identity);
        END IF;
    END LOOP;
    PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
END
$empty$;
";

/// Whether an extension is there that our role did not make: often a superuser did.
pub(crate) const EXTENSIONS_OF_OTHERS: &str = "SELECT EXISTS (SELECT FROM pg_extension \
    WHERE extnamespace <> 'pg_catalog'::regnamespace AND NOT pg_has_role(extowner, 'USAGE'))";

/// Empties the database and fills it, once the dump's checksum was compared again.
async fn fill(cx: &Context, db: &Postgres, dump: &Verified<Dump>) -> Result<Restored> {
    unchanged(cx, db, dump).await?;
    let others: bool = db.session(cx).await?.one(EXTENSIONS_OF_OTHERS, &[]).await?;
    let way = match (dump.format, dump.contents().large_objects > 0, others) {
        (Format::Plain, false, false) => "plain",
        (Format::Plain, ..) => "plain-in-part",
        (Format::Gzip, false, false) => "gzip",
        (Format::Gzip, ..) => "gzip-in-part",
        (Format::Custom, _, false) => "custom",
        (Format::Custom, _, true) => "custom-in-part",
    };
    end_leftovers(cx, db).await?;
    let file = dump.path.display().to_string();
    let shown = format!("restore {} into {}", runbook_core::quote(&file), db.database());
    Program::script(db, "psql", FILL, &[way, &file, EMPTY], shown)
        .application(application(cx, db))
        // The lock limit holds: a session that was forgotten must not keep this waiting for ever.
        .settings(format!(
            "-c statement_timeout=0 -c lock_timeout={}",
            millis(db.config().lock_timeout)
        ))
        .run(cx)
        .await?;
    let session = db.session(cx).await?.unlimited().await?;
    // A dump holds no statistics, and a planner without them is slow.
    session.batch("ANALYZE").await?;
    let rows = RowCounts::count(&session).await?;
    all_there(db, dump, &rows)?;
    cx.say(format!("{} rows in {} tables", rows.total(), rows.tables.len()));
    Ok(Restored { dump: (**dump).clone(), rows, replaced: None })
}

/// The name under which a unit fills a database.
fn application(cx: &Observer, db: &Postgres) -> String {
    format!("runbook restore {:016x}", super::scratch::number(cx, db))
}

/// Ends what an earlier attempt of this unit left running on the server: with its connection to us
/// lost it goes on, holds its locks, and would end its transaction under our hands.
async fn end_leftovers(cx: &Context, db: &Postgres) -> Result<()> {
    let session = db.session(cx).await?;
    let theirs = "FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid()";
    let name = [application(cx, db).into()];
    let ended: Vec<bool> =
        session.query(&format!("SELECT pg_terminate_backend(pid) {theirs}"), &name).await?;
    if ended.is_empty() {
        return Ok(());
    }
    cx.say("ending what an earlier attempt left running on the server");
    let gone = async {
        while session.one::<bool>(&format!("SELECT EXISTS (SELECT {theirs})"), &name).await? {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    match timeout(LEFTOVERS, gone).await {
        Ok(gone) => gone,
        Err(_) => Err(Error::Unsafe {
            place: db.to_string(),
            why: "an earlier attempt still runs on the server, and does not end".into(),
            next: "look for it in pg_stat_activity, then resume the run".into(),
        }
        .into_failure()),
    }
}

/// How long what was told to end may take: it may have much to take back.
const LEFTOVERS: Duration = Duration::from_secs(60);
