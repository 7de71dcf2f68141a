//! Just enough of HTML to find a token: the attributes of `<input>` and `<meta>`.

/// The value of the form field `name`.
pub(crate) fn field(html: &str, name: &str) -> Option<String> {
    find(html, "input", name, "value")
}

/// The content of `<meta name="..">`.
pub(crate) fn meta(html: &str, name: &str) -> Option<String> {
    find(html, "meta", name, "content")
}

fn find(html: &str, tag: &str, name: &str, wanted: &str) -> Option<String> {
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->")?.1;
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if !rest[..end].eq_ignore_ascii_case(tag) {
            continue;
        }
        let (attributes, after) = attributes(&rest[end..]);
        rest = after;
        let get = |key: &str| attributes.iter().find(|(one, _)| one == key).map(|(_, value)| value);
        if get("name").is_some_and(|found| found == name) {
            return get(wanted).cloned();
        }
    }
    None
}

/// The attributes up to the end of the tag, and what follows it.
fn attributes(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return (found, rest);
        }
        if let Some(after) = rest.strip_prefix('>') {
            return (found, after);
        }
        let end = rest
            .char_indices()
            .skip(1)
            .find(|(_, c)| c.is_ascii_whitespace() || "=>/".contains(*c))
            .map_or(rest.len(), |(at, _)| at);
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let mut value = "";
        if let Some(after) = rest.strip_prefix('=') {
            let after = after.trim_start();
            (value, rest) = match after.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    after[1..].split_once(quote).unwrap_or((&after[1..], ""))
                }
                _ => {
                    let end = after.find(|c: char| c.is_ascii_whitespace() || c == '>');
                    after.split_at(end.unwrap_or(after.len()))
                }
            };
        }
        found.push((name, unescaped(value)));
    }
}

fn unescaped(text: &str) -> String {
    [("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&#x27;", "'"), ("&#43;", "+")]
        .iter()
        .chain(&[("&#x2F;", "/"), ("&#x3D;", "="), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")])
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_is_found_however_its_tag_is_written() {
        for html in [
            r#"<input type="hidden" name="_csrf" value="a+b/=">"#,
            r#"<form><INPUT VALUE='a+b/=' NAME=_csrf /></form>"#,
            "<input\n name = \"_csrf\"\n value=a+b/= >",
            r#"<!-- <input name="_csrf" value="old"> --><input name="_csrf" value="a&#43;b/=">"#,
            r#"<input name="other" value="x"><input disabled name="_csrf" value="a+b/=">"#,
        ] {
            assert_eq!(field(html, "_csrf").as_deref(), Some("a+b/="), "{html}");
        }
        assert_eq!(meta(r#"<meta name="csrf-token" content="t">"#, "csrf-token").unwrap(), "t");
        assert_eq!(field("<input name=_csrf", "_csrf"), None);
    }

    proptest! {
        #[test]
        fn no_page_makes_it_stumble(html in "(<|>|=|\"|'|input|name|value|--|!| |é|/|a){0,60}") {
            field(&html, "a");
        }
    }
}
