//! Environments: those built into the catalog, and those of a configuration file.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use runbook_core::{Catalog, Error};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::args::Global;
use super::io::Surroundings;

/// The environment to work in.
pub(crate) enum Environment<'a, E> {
    BuiltIn(&'a str, &'a E),
    FromFile(String, E),
    /// The catalog has none and its type needs none.
    Unnamed(E),
}

impl<E> Environment<'_, E> {
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::BuiltIn(name, _) => Some(name),
            Self::FromFile(name, _) => Some(name),
            Self::Unnamed(_) => None,
        }
    }

    pub(crate) fn value(&self) -> &E {
        match self {
            Self::BuiltIn(_, env) => env,
            Self::FromFile(_, env) | Self::Unnamed(env) => env,
        }
    }
}

/// A configuration file that was read.
struct Config {
    path: PathBuf,
    text: String,
    names: Vec<String>,
}

/// Picks the environment: the one called `wanted`, or the default: the first that is built in, or
/// the only one of the file. The file goes before what is built in.
///
/// # Errors
/// There is none of that name, or none was picked and there is no default (the error lists those
/// that there are), or the file can't be read or does not fit.
pub(crate) fn pick<'a, E: DeserializeOwned + 'static>(
    catalog: &'a Catalog<E>,
    global: &Global,
    wanted: Option<&str>,
    surroundings: &Surroundings,
) -> Result<Environment<'a, E>, Error> {
    let config = read(catalog.name(), global, &surroundings.dir)?;
    let in_file: &[String] = config.as_ref().map_or(&[], |config| &config.names);
    let names = || {
        let mut names: Vec<&str> = catalog.envs().map(|(name, _)| name).collect();
        for name in in_file {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    };
    let place = match &config {
        Some(config) => format!("in {}", config.path.display()),
        None => format!("--config FILE or a {}.toml in this folder adds more", catalog.name()),
    };
    let name = match (wanted, catalog.envs().next(), in_file) {
        (Some(name), _, _) => name,
        (None, Some((first, _)), _) => first,
        (None, None, [only]) => only,
        (None, None, []) => {
            return nothing().map(Environment::Unnamed).ok_or_else(|| {
                Error::usage(format!(
                    "there is no environment to work in: give --config FILE, or put {}.toml into \
                     this folder; each of its tables is an environment",
                    catalog.name()
                ))
            });
        }
        (None, None, many) => {
            return Err(Error::usage(format!(
                "which environment? pick one with --env NAME; there is: {}",
                many.join(", ")
            )));
        }
    };
    if let Some(config) = &config
        && config.names.iter().any(|known| known == name)
    {
        return config.environment(name).map(|env| Environment::FromFile(name.to_owned(), env));
    }
    if let Some((name, env)) = catalog.envs().find(|(known, _)| *known == name) {
        return Ok(Environment::BuiltIn(name, env));
    }
    let names = names();
    if names.is_empty() {
        return Err(Error::usage(format!(
            "no environment is called `{name}`: there are none ({place})"
        )));
    }
    Err(Error::usage(format!(
        "no environment is called `{name}`; there is: {} ({place})",
        names.join(", ")
    )))
}

/// An environment that needs no data: `()`, or a struct whose fields all have defaults.
fn nothing<E: DeserializeOwned>() -> Option<E> {
    serde_json::from_str("null").or_else(|_| serde_json::from_str("{}")).ok()
}

fn read(name: &str, global: &Global, dir: &Path) -> Result<Option<Config>, Error> {
    let path = match &global.config {
        Some(path) => dir.join(path),
        None => dir.join(format!("{name}.toml")),
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && global.config.is_none() => {
            return Ok(None);
        }
        Err(error) => {
            return Err(Error::usage(format!(
                "reading the configuration {}: {error}",
                path.display()
            )));
        }
    };
    // Looked at without its types first: what is wrong with one environment is no reason not to
    // work in another.
    let mut config = Config { path, text, names: Vec::new() };
    let tables: BTreeMap<String, IgnoredAny> =
        toml::from_str(&config.text).map_err(|error| config.refuse(&error, None))?;
    config.names = tables.into_keys().collect();
    Ok(Some(config))
}

impl Config {
    fn environment<E: DeserializeOwned>(&self, name: &str) -> Result<E, Error> {
        let refuse = |error: toml::de::Error| self.refuse(&error, Some(name));
        let document = toml::de::Deserializer::parse(&self.text).map_err(refuse)?;
        let mut found = None;
        document
            .deserialize_map(One { name, found: &mut found, kind: PhantomData })
            .map_err(refuse)?;
        found.ok_or_else(|| {
            Error::usage(format!("{}: no environment is called `{name}`", self.path.display()))
        })
    }

    /// File, line, key and what is wrong.
    fn refuse(&self, error: &toml::de::Error, env: Option<&str>) -> Error {
        let place = match error.span() {
            Some(span) => {
                let before = self.text.get(..span.start).unwrap_or(&self.text);
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                let source = self.text.lines().nth(line - 1).unwrap_or_default();
                // A span of a whole table starts at its header: the line says enough by itself.
                format!("{}:{line}:{column}: `{}`: ", self.path.display(), source.trim())
            }
            None => format!("{}: ", self.path.display()),
        };
        let of = match env {
            Some(env) => format!(" (environment `{env}`)"),
            None => String::new(),
        };
        Error::usage(format!("{place}{}{of}", error.message()))
    }
}

/// Reads one key of a map and leaves the others.
struct One<'a, E> {
    name: &'a str,
    found: &'a mut Option<E>,
    kind: PhantomData<E>,
}

impl<'de, E: DeserializeOwned> Visitor<'de> for One<'_, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table for each environment")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == self.name {
                *self.found = Some(map.next_value_seed(Value(PhantomData))?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Value<E>(PhantomData<E>);

impl<'de, E: DeserializeOwned> DeserializeSeed<'de> for Value<E> {
    type Value = E;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<E, D::Error> {
        E::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::cli::io::Io;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Site {
        root: String,
        port: u16,
    }

    fn site(root: &str) -> Site {
        Site { root: root.into(), port: 80 }
    }

    /// The environment picked from a file in the folder, or the error.
    fn pick_from(
        catalog: &Catalog<Site>,
        file: Option<&str>,
        wanted: Option<&str>,
    ) -> Result<(String, Site), String> {
        let dir = tempfile::tempdir().unwrap();
        if let Some(text) = file {
            std::fs::write(dir.path().join("shop.toml"), text).unwrap();
        }
        let (io, _) = Io::captured("");
        let io = io.dir(dir.path());
        match pick(catalog, &Global::default(), wanted, &io.surroundings) {
            Ok(Environment::BuiltIn(name, env)) => Ok((name.into(), site(&env.root))),
            Ok(Environment::FromFile(name, env)) => Ok((name, env)),
            Ok(Environment::Unnamed(env)) => Ok((String::new(), env)),
            Err(error) => Err(error.to_string().replace(&dir.path().display().to_string(), "DIR")),
        }
    }

    const TWO: &str =
        "[staging]\nroot = '/srv/staging'\nport = 8080\n\n[live]\nroot = '/srv'\nport = 'http'\n";

    #[test]
    fn the_first_built_in_environment_is_the_default() {
        let catalog = Catalog::new("shop").env("a", site("/a")).env("b", site("/b"));
        assert_eq!(pick_from(&catalog, None, None).unwrap().0, "a");
        assert_eq!(pick_from(&catalog, None, Some("b")).unwrap().1.root, "/b");
    }

    #[test]
    fn a_file_in_the_folder_adds_environments_and_goes_first() {
        let catalog = Catalog::new("shop").env("staging", site("/built/in"));
        let (name, env) = pick_from(&catalog, Some(TWO), None).unwrap();
        assert_eq!((name.as_str(), env.root.as_str(), env.port), ("staging", "/srv/staging", 8080));
    }

    #[test]
    fn one_broken_environment_does_not_break_the_others() {
        let catalog = Catalog::<Site>::new("shop");
        assert!(pick_from(&catalog, Some(TWO), Some("staging")).is_ok());
    }

    #[test]
    fn what_is_wrong_names_the_file_the_line_and_the_key() {
        let catalog = Catalog::<Site>::new("shop").env("built-in", site("/"));
        let errors = [
            pick_from(&catalog, Some(TWO), Some("live")),
            pick_from(&catalog, Some("[live]\nroot = '/srv'\n"), Some("live")),
            pick_from(&catalog, Some("[live]\nroot = /srv\n"), Some("live")),
            pick_from(&catalog, Some("live = 3\n"), Some("live")),
            pick_from(&catalog, Some(TWO), Some("prod")),
            pick_from(&catalog, None, Some("prod")),
            pick_from(&Catalog::new("shop"), Some(TWO), None),
            pick_from(&Catalog::new("shop"), None, None),
            pick_from(&Catalog::new("shop"), None, Some("prod")),
        ]
        .map(|result| result.unwrap_err());
        insta::assert_snapshot!(errors.join("\n"));
    }

    #[test]
    fn a_catalog_that_needs_no_environment_has_one() {
        let (io, _) = Io::captured("");
        let io = io.dir(tempfile::tempdir().unwrap().path());
        let catalog = Catalog::<()>::new("shop");
        let env = pick(&catalog, &Global::default(), None, &io.surroundings).unwrap();
        assert_eq!(env.name(), None);
    }
}
