//! [`Catalog`]: the runbooks of one binary, over one typed environment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Failure};
use crate::param::{Param, ParamError, ParamSpec};
use crate::plan::{ParamGiven, Plan};
use crate::runbook::Runbook;

/// A runbook that a [`Catalog`] can hold. `#[runbook]` implements it, on a type named like the fn.
pub trait Book<E>: 'static {
    /// Its name, documentation and parameters.
    fn spec() -> BookSpec;

    /// Adds its steps and checks to `b`.
    ///
    /// # Errors
    /// A parameter is missing or refused, or the runbook's own code says no.
    fn fill(b: &mut Runbook, env: &E, args: &Args) -> Result<(), Error>;
}

/// What a runbook is called, does, and wants to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookSpec {
    /// Its name on the command line: `deploy`.
    pub name: String,
    /// Its title: the first paragraph of its documentation.
    pub title: String,
    /// The rest of its documentation, in Markdown.
    pub doc: String,
    /// Its parameters.
    pub params: Vec<ParamSpec>,
}

/// The words given for a runbook's parameters.
///
/// ```
/// use runbook_core::Args;
/// let args = Args::new().with("release", "v2").with("keep", "3");
/// assert_eq!(args.get("keep"), ["3"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Args(BTreeMap<String, Vec<String>>);

impl Args {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more word for the parameter `name`.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.entry(name.into()).or_default().push(value.into());
        self
    }

    /// The words given for `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The value of the parameter `spec`, from the words given or its default.
    ///
    /// # Errors
    /// It is missing, or a word is not accepted; names the parameter, the word and what is.
    pub fn parse<T: Param>(&self, spec: &ParamSpec) -> Result<T, Error> {
        let default: Vec<String>;
        let mut words = self.get(&spec.name);
        if let (true, Some(text)) = (words.is_empty(), &spec.default) {
            default = vec![text.clone()];
            words = &default;
        }
        T::parse_all(words).map_err(|error| match error {
            ParamError::Missing => Error::usage(format!(
                "--{} is missing: {} ({})",
                spec.flag(),
                if spec.doc.is_empty() { &spec.name } else { &spec.doc },
                spec.kind.accepts
            )),
            ParamError::Refused { value, accepts } => {
                let value = if spec.kind.secret { "***" } else { &value };
                Error::usage(format!("--{} {value:?}: expected {accepts}", spec.flag()))
            }
        })
    }
}

/// What the body of a `#[runbook]` fn may give back: nothing, or a result.
#[diagnostic::on_unimplemented(
    message = "a runbook gives back nothing or a `Result<()>`, not `{Self}`",
    label = "expected nothing or `Result<()>`",
    note = "what its units give is only there when it runs; wire it from one to the next"
)]
pub trait Built {
    /// As a result.
    ///
    /// # Errors
    /// The body's own.
    fn built(self) -> Result<(), Error>;
}

impl Built for () {
    fn built(self) -> Result<(), Error> {
        Ok(())
    }
}

impl<E: Into<Failure>> Built for Result<(), E> {
    fn built(self) -> Result<(), Error> {
        self.map_err(|error| Error::usage(error.into()))
    }
}

type Fill<E> = fn(&mut Runbook, &E, &Args) -> Result<(), Error>;

/// The runbooks of one binary, over one typed environment `E`.
///
/// ```
/// use runbook_core::{Args, Book, BookSpec, Catalog, Error, Manual, Runbook};
///
/// struct Wave;
/// impl Book<()> for Wave {
///     fn spec() -> BookSpec {
///         BookSpec { name: "wave".into(), title: "Wave".into(), doc: String::new(), params: vec![] }
///     }
///     fn fill(b: &mut Runbook, _: &(), _: &Args) -> Result<(), Error> {
///         b.manual(Manual::new("Wave"));
///         Ok(())
///     }
/// }
///
/// let catalog = Catalog::new("greetings").book::<Wave>();
/// let plan = catalog.plan("wave", &(), &Args::new())?;
/// assert_eq!(plan.book(), "wave");
/// # Ok::<(), Error>(())
/// ```
pub struct Catalog<E = ()> {
    name: String,
    doc: String,
    version: Option<String>,
    books: Vec<(BookSpec, Fill<E>)>,
    envs: Vec<(String, E)>,
}

impl<E: 'static> Catalog<E> {
    /// An empty catalog called `name`: the name of the binary.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            doc: String::new(),
            version: None,
            books: Vec::new(),
            envs: Vec::new(),
        }
    }

    /// What it is about, in a sentence.
    #[must_use]
    pub fn doc(mut self, doc: impl Into<String>) -> Self {
        self.doc = doc.into();
        self
    }

    /// The version of the binary; noted in every journal.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// One more runbook: `.book::<deploy>()` for a `#[runbook] fn deploy`.
    #[must_use]
    pub fn book<B: Book<E>>(mut self) -> Self {
        self.books.push((B::spec(), B::fill));
        self
    }

    /// An environment that is built in; the first one is the default.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, env: E) -> Self {
        self.envs.push((name.into(), env));
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is about.
    #[must_use]
    pub fn about(&self) -> &str {
        &self.doc
    }

    /// The version of the binary.
    #[must_use]
    pub fn version_text(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Its runbooks, in the order in which they were added.
    pub fn books(&self) -> impl Iterator<Item = &BookSpec> {
        self.books.iter().map(|(spec, _)| spec)
    }

    /// The runbook called `name`.
    ///
    /// # Errors
    /// There is none; the error lists those that there are.
    pub fn spec(&self, name: &str) -> Result<&BookSpec, Error> {
        self.books().find(|spec| spec.name == name).ok_or_else(|| {
            let names: Vec<_> = self.books().map(|spec| spec.name.as_str()).collect();
            Error::usage(format!("no runbook is called `{name}`; there is: {}", names.join(", ")))
        })
    }

    /// The environments that are built in.
    pub fn envs(&self) -> impl Iterator<Item = (&str, &E)> {
        self.envs.iter().map(|(name, env)| (name.as_str(), env))
    }

    /// Builds the plan of a runbook.
    ///
    /// # Errors
    /// No such runbook or parameter, a parameter is missing or refused, or the wiring is wrong.
    pub fn plan(&self, book: &str, env: &E, args: &Args) -> Result<Plan, Error> {
        let spec = self.spec(book)?;
        if let Some(unknown) =
            args.0.keys().find(|name| !spec.params.iter().any(|param| param.name == **name))
        {
            return Err(Error::usage(format!("`{book}` has no parameter called `{unknown}`")));
        }
        let mut b = Runbook::new(&spec.name);
        b.title(&spec.title).doc(&spec.doc);
        b.params(
            spec.params
                .iter()
                .filter(|param| !args.get(&param.name).is_empty())
                .map(|param| {
                    let secret = param.kind.secret;
                    let words = args.get(&param.name).iter();
                    let shown = |word: &String| if secret { "***".into() } else { word.clone() };
                    ParamGiven {
                        name: param.name.clone(),
                        values: words.map(shown).collect(),
                        secret,
                    }
                })
                .collect(),
        );
        let fill = self.books.iter().find(|(spec, _)| spec.name == book).map(|(_, fill)| *fill);
        if let Some(fill) = fill {
            fill(&mut b, env, args)?;
        }
        b.build()
    }
}
