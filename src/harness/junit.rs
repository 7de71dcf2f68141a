//! What became of the tests, as JUnit XML.

use std::any::Any;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

/// What became of the tests so far.
#[derive(Clone, Default)]
pub(super) struct Results(Arc<Mutex<Vec<Done>>>);

struct Done {
    book: String,
    test: String,
    took: Duration,
    failure: Option<String>,
}

impl Results {
    /// A test whose result is noted.
    pub(super) fn trial(
        &self,
        book: &str,
        test: &str,
        work: impl FnOnce() -> Result<(), Failed> + Send + 'static,
    ) -> Trial {
        let results = Arc::clone(&self.0);
        let (book, test) = (book.to_owned(), test.to_owned());
        Trial::test(format!("{book}::{test}"), move || {
            let began = Instant::now();
            let ended = catch_unwind(AssertUnwindSafe(work));
            let failure = match &ended {
                Ok(Ok(())) => None,
                Ok(Err(failed)) => Some(failed.message().unwrap_or("failed").to_owned()),
                Err(panic) => Some(panic_text(&**panic)),
            };
            let done = Done { book, test, took: began.elapsed(), failure };
            results.lock().unwrap_or_else(PoisonError::into_inner).push(done);
            ended.unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// One test suite a runbook.
    pub(super) fn junit(&self) -> String {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.sort_by(|a, b| (&a.book, &a.test).cmp(&(&b.book, &b.test)));
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
        for suite in all.chunk_by(|a, b| a.book == b.book) {
            let failures = suite.iter().filter(|done| done.failure.is_some()).count();
            let took: Duration = suite.iter().map(|done| done.took).sum();
            let _ = writeln!(
                xml,
                "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" time=\"{:.3}\">",
                escaped(&suite[0].book),
                suite.len(),
                took.as_secs_f64()
            );
            for done in suite {
                let (book, test) = (escaped(&done.book), escaped(&done.test));
                let time = done.took.as_secs_f64();
                let _ = write!(
                    xml,
                    "    <testcase classname=\"{book}\" name=\"{test}\" time=\"{time:.3}\""
                );
                let _ = match &done.failure {
                    None => writeln!(xml, "/>"),
                    Some(why) => writeln!(
                        xml,
                        ">\n      <failure>{}</failure>\n    </testcase>",
                        escaped(why)
                    ),
                };
            }
            xml.push_str("  </testsuite>\n");
        }
        xml.push_str("</testsuites>\n");
        xml
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned()
}

/// As XML 1.0 takes it: control characters have no place in it, not even escaped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
