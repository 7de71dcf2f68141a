//! A database that is made like another: what hangs on the database itself, and in no dump of it.

use runbook_core::Result;
use serde_json::{Map, Value as Json};

use crate::identifier::{identifier, literal};
use crate::session::Session;

/// Makes an empty database with the owner, rights, encoding, order of texts and tablespace of
/// another one. Its settings come later ([`carry`]): they are for who uses it, not for who fills it.
pub(crate) async fn create_like(session: &Session<'_>, from: &str, to: &str) -> Result<()> {
    let (row, owner, encoding, tablespace): (Json, String, String, String) = session
        .one(
            "SELECT to_jsonb(d), pg_get_userbyid(datdba)::text, \
             pg_encoding_to_char(encoding)::text, spcname::text \
             FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = $1",
            &[from.into()],
        )
        .await?;
    let text = |name: &str| row.get(name).and_then(Json::as_str);
    let mut sql = format!(
        "CREATE DATABASE {} TEMPLATE template0 OWNER {} ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        identifier(to),
        identifier(&owner),
        literal(&encoding),
        literal(text("datcollate").unwrap_or("C")),
        literal(text("datctype").unwrap_or("C")),
    );
    // From 15 on there are other providers than the system; 17 calls their locale otherwise.
    let locale = text("datlocale").or_else(|| text("daticulocale")).map(literal);
    match (text("datlocprovider"), locale) {
        (Some("i"), Some(locale)) => {
            sql += &format!(" LOCALE_PROVIDER icu ICU_LOCALE {locale}");
            if let Some(rules) = text("daticurules") {
                sql += &format!(" ICU_RULES {}", literal(rules));
            }
        }
        (Some("b"), Some(locale)) => {
            sql += &format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {locale}");
        }
        (Some("c"), _) => sql += " LOCALE_PROVIDER libc",
        _ => {}
    }
    session.batch(&format!("{sql} TABLESPACE {}", identifier(&tablespace))).await?;
    // Whoever fills it must be let in.
    rights(session, from, to).await
}

/// Gives a database the rights, settings, comment and labels of another one, as they are now. In a
/// transaction of the caller's.
pub(crate) async fn carry(session: &Session<'_>, from: &str, to: &str) -> Result<()> {
    rights(session, from, to).await?;
    settings(session, from, to).await?;
    let name = identifier(to);
    let (connections, template, comment): (i32, bool, Option<String>) = session
        .one(
            "SELECT datconnlimit, datistemplate, shobj_description(oid, 'pg_database') \
             FROM pg_database WHERE datname = $1",
            &[from.into()],
        )
        .await?;
    session.batch(&format!("ALTER DATABASE {name} CONNECTION LIMIT {connections}")).await?;
    if template {
        session.batch(&format!("ALTER DATABASE {name} IS_TEMPLATE true")).await?;
    }
    if let Some(comment) = comment {
        session.batch(&format!("COMMENT ON DATABASE {name} IS {}", literal(&comment))).await?;
    }
    let labels: Vec<(String, String)> = session
        .query(
            "SELECT provider, label FROM pg_shseclabel s JOIN pg_database d ON d.oid = s.objoid \
             WHERE classoid = 'pg_database'::regclass AND datname = $1",
            &[from.into()],
        )
        .await?;
    for (provider, label) in labels {
        let (provider, label) = (identifier(&provider), literal(&label));
        session
            .batch(&format!("SECURITY LABEL FOR {provider} ON DATABASE {name} IS {label}"))
            .await?;
    }
    Ok(())
}

/// In what two databases differ, beside what is in them.
pub(crate) async fn differences(
    session: &Session<'_>,
    one: &str,
    other: &str,
) -> Result<Vec<String>> {
    let (one,): (Map<String, Json>,) = session.one(HANGS_ON_IT, &[one.into()]).await?;
    let (other,): (Map<String, Json>,) = session.one(HANGS_ON_IT, &[other.into()]).await?;
    let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
    let differing = names.filter(|name| one.get(*name) != other.get(*name));
    Ok(differing.map(|name| name.trim_start_matches("dat").to_owned()).collect())
}

/// All that hangs on a database but what belongs to its content or its age. That is all columns
/// but a few: what a later version adds is compared too.
const HANGS_ON_IT: &str = "SELECT to_jsonb(d) - ARRAY['oid', 'datname', 'datfrozenxid', \
        'datminmxid', 'datlastsysoid', 'datcollversion', 'dathasloginevt', 'datacl'] \
    || jsonb_build_object( \
        'rights', (SELECT jsonb_agg(jsonb_build_array(grantee, privilege_type, is_grantable) \
                ORDER BY grantee, privilege_type, is_grantable) \
            FROM aclexplode(coalesce(datacl, acldefault('d', datdba)))), \
        'settings', (SELECT jsonb_agg(jsonb_build_array(setrole, setting) ORDER BY setrole, setting) \
            FROM pg_db_role_setting, unnest(setconfig) setting WHERE setdatabase = d.oid), \
        'comment', shobj_description(d.oid, 'pg_database'), \
        'labels', (SELECT jsonb_agg(jsonb_build_array(provider, label) ORDER BY provider) \
            FROM pg_shseclabel WHERE classoid = 'pg_database'::regclass AND objoid = d.oid)) \
    FROM pg_database d WHERE datname = $1";

async fn rights(session: &Session<'_>, from: &str, to: &str) -> Result<()> {
    // Made by the server, which quotes names as it reads them.
    let statements: Vec<String> = session
        .query(
            "WITH one AS ( \
                SELECT datname, a.*, CASE grantee WHEN 0 THEN 'PUBLIC' \
                    ELSE quote_ident(pg_get_userbyid(grantee)) END AS who \
                FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) a) \
             SELECT statement FROM ( \
                SELECT DISTINCT 1, format('REVOKE ALL ON DATABASE %I FROM %s', datname, who) \
                    FROM one WHERE datname = $2 \
                UNION ALL \
                SELECT 2, format('GRANT %s ON DATABASE %I TO %s%s', privilege_type, $2::text, who, \
                        CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) \
                    FROM one WHERE datname = $1) all_of_them (place, statement) \
             ORDER BY place",
            &[from.into(), to.into()],
        )
        .await?;
    session.batch(&statements.join("; ")).await
}

async fn settings(session: &Session<'_>, from: &str, to: &str) -> Result<()> {
    let settings: Vec<(Option<String>, String, String)> = session
        .query(
            "SELECT CASE WHEN setrole <> 0 THEN pg_get_userbyid(setrole)::text END, \
                split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1) \
             FROM pg_db_role_setting, unnest(setconfig) WITH ORDINALITY a (setting, place) \
             WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = $1) \
             ORDER BY setrole, place",
            &[from.into()],
        )
        .await?;
    for (role, name, value) in settings {
        let whose = match role {
            Some(role) => format!("ROLE {} IN DATABASE {}", identifier(&role), identifier(to)),
            None => format!("DATABASE {}", identifier(to)),
        };
        let (setting, name_of, value) = (identifier(&name), literal(&name), literal(&value));
        // The text of a list of names is no single value, and is never put into a statement: it
        // could hold one of its own. It is set here, and taken over from here.
        let sql = if LISTS.contains(&name.to_ascii_lowercase().as_str()) {
            format!(
                "SELECT pg_catalog.set_config({name_of}, {value}, true); \
                 ALTER {whose} SET {setting} FROM CURRENT; \
                 SELECT pg_catalog.set_config({name_of}, '', true)"
            )
        } else {
            format!("ALTER {whose} SET {setting} TO {value}")
        };
        session.batch(&sql).await?;
    }
    Ok(())
}

/// The settings that are lists of names, as pg_dump knows them too.
const LISTS: [&str; 4] =
    ["local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces"];
