//! Which paths a crate's source names, and where.
//!
//! Files are read as Rust's own tokens, so comments and strings never count and the insides of
//! macros do. From the crate's root file the `mod` items are followed as the compiler does.

use std::iter::Peekable;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree, token_stream};

use crate::Outcome;

/// A path that the source names, from its crate's root or from another crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// The module that names it, from the crate's root.
    pub(crate) from: Vec<String>,
    /// What it names: `crate::...`, or another crate's name first; `*` at the end is a glob.
    pub(crate) path: Vec<String>,
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
}

/// What a crate's source holds that a rule could ask about.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) imports: Vec<Import>,
    /// The modules of the crate's root.
    pub(crate) modules: Vec<String>,
    /// Names that the root file's `use` items bring in, with the path they stand for.
    pub(crate) aliases: Vec<(String, Vec<String>)>,
    /// The macros by rules and the modules that write them; exported ones stand at the root.
    pub(crate) macros: Vec<(String, Vec<String>)>,
}

/// Reads the crate whose root file is `root`, without what only its tests compile.
pub(crate) fn read(root: &Path) -> Outcome<Source> {
    let mut source = Source::default();
    let folder = root.parent().unwrap_or(Path::new("."));
    read_file(root, folder, &[], &mut source)?;
    Ok(source)
}

/// Reads `file`, the module `module`; the files of its modules are looked for in `folder`.
fn read_file(file: &Path, folder: &Path, module: &[String], source: &mut Source) -> Outcome {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let tokens: TokenStream =
        text.parse().map_err(|error| format!("{} is not Rust: {error}", file.display()))?;
    Scan { file, folder: folder.to_path_buf(), module: module.to_vec(), source }.stream(tokens)
}

/// A walk over the tokens of one module.
struct Scan<'a> {
    file: &'a Path,
    folder: PathBuf,
    module: Vec<String>,
    source: &'a mut Source,
}

type Tokens = Peekable<token_stream::IntoIter>;

impl Scan<'_> {
    fn stream(&mut self, tokens: TokenStream) -> Outcome {
        let mut tokens = tokens.into_iter().peekable();
        // A name after `.` is a field or a method, and no path begins there; after `..` one may.
        let mut after_dot = false;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => self.stream(group.stream())?,
                TokenTree::Punct(mark) if mark.as_char() == '#' => self.attribute(&mut tokens)?,
                TokenTree::Punct(mark) => {
                    after_dot = mark.as_char() == '.' && !after_dot;
                    continue;
                }
                TokenTree::Ident(name) if !after_dot => {
                    let line = name.span().start().line;
                    self.word(&plain(&name.to_string()), line, &mut tokens)?;
                }
                TokenTree::Ident(_) | TokenTree::Literal(_) => {}
            }
            after_dot = false;
        }
        Ok(())
    }

    /// After `#`: an item that only tests compile is passed over.
    fn attribute(&mut self, tokens: &mut Tokens) -> Outcome {
        let Some(TokenTree::Group(group)) = tokens.peek().cloned() else { return Ok(()) };
        let text: String = group.stream().to_string().split_whitespace().collect();
        if text == "test" || text == "cfg(test)" || text.starts_with("cfg(all(test,") {
            skip_item(tokens);
        }
        if text.starts_with("path=") {
            return Err(format!(
                "{}:{}: `#[path]` hides a module from the layering check: put the file where \
                 the compiler looks for it",
                self.file.display(),
                group.span_open().start().line
            ));
        }
        Ok(())
    }

    fn word(&mut self, name: &str, line: usize, tokens: &mut Tokens) -> Outcome {
        match name {
            "mod" => self.module(tokens),
            "macro_rules" => {
                if next_is(tokens, '!') {
                    tokens.next();
                }
                if let Some(TokenTree::Ident(name)) = tokens.next() {
                    self.source.macros.push((plain(&name.to_string()), self.module.clone()));
                }
                Ok(())
            }
            "pub" => {
                // `pub(crate)` and `pub(in crate::event)` say who sees, and import nothing.
                if let Some(TokenTree::Group(group)) = tokens.peek()
                    && group.delimiter() == Delimiter::Parenthesis
                    && restricts(group)
                {
                    tokens.next();
                }
                Ok(())
            }
            // `use<'a>` among bounds says what is captured.
            "use" if next_is(tokens, '<') => Ok(()),
            "use" => {
                path_separator(tokens);
                self.tree(&mut Vec::new(), tokens)
            }
            _ => self.path(vec![name.to_owned()], line, tokens),
        }
    }

    fn module(&mut self, tokens: &mut Tokens) -> Outcome {
        let Some(TokenTree::Ident(name)) = tokens.next() else { return Ok(()) };
        let name = plain(&name.to_string());
        let mut inner = self.module.clone();
        inner.push(name.clone());
        match tokens.peek().cloned() {
            Some(TokenTree::Group(group)) => {
                let body = group.stream();
                tokens.next();
                self.declared(&name);
                let folder = self.folder.join(&name);
                Scan { file: self.file, folder, module: inner, source: self.source }.stream(body)
            }
            _ if next_is(tokens, ';') => {
                self.declared(&name);
                let flat = self.folder.join(format!("{name}.rs"));
                let deep = self.folder.join(&name);
                let file = if flat.is_file() { flat } else { deep.join("mod.rs") };
                read_file(&file, &deep, &inner, self.source)
            }
            _ => Ok(()),
        }
    }

    fn declared(&mut self, name: &str) {
        if self.module.is_empty() {
            self.source.modules.push(name.to_owned());
        }
    }

    /// A path in passing, of which the first name is read.
    fn path(&mut self, mut path: Vec<String>, line: usize, tokens: &mut Tokens) -> Outcome {
        while path_separator(tokens) {
            match tokens.peek() {
                Some(TokenTree::Ident(name)) => {
                    path.push(plain(&name.to_string()));
                    tokens.next();
                }
                // What a macro is given may hold the branches of a `use`.
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let group = group.clone();
                    tokens.next();
                    return self.branches(&path, &group);
                }
                _ => break,
            }
        }
        if path.len() > 1 {
            self.import(path, line);
        }
        Ok(())
    }

    /// One branch of a `use`, up to its end.
    fn tree(&mut self, path: &mut Vec<String>, tokens: &mut Tokens) -> Outcome {
        let mut line = 0;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Ident(name) => {
                    line = name.span().start().line;
                    let name = plain(&name.to_string());
                    if name == "as" {
                        let alias = tokens.next().map(|alias| plain(&alias.to_string()));
                        self.alias(alias.unwrap_or_default(), path);
                        break;
                    }
                    // `self` among branches is the path that leads to them.
                    if name != "self" || path.is_empty() {
                        path.push(name);
                    }
                }
                TokenTree::Punct(mark) if mark.as_char() == '*' => {
                    line = mark.span().start().line;
                    path.push("*".to_owned());
                }
                TokenTree::Group(group) => return self.branches(path, &group),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            let goes_on = path_separator(tokens)
                || matches!(tokens.peek(), Some(TokenTree::Ident(word)) if word == "as");
            if !goes_on {
                let name = path.last().cloned().unwrap_or_default();
                self.alias(name, path);
                break;
            }
        }
        self.import(path.clone(), line);
        Ok(())
    }

    fn branches(&mut self, path: &[String], group: &Group) -> Outcome {
        let mut tokens = group.stream().into_iter().peekable();
        while tokens.peek().is_some() {
            self.tree(&mut path.to_vec(), &mut tokens)?;
            while let Some(TokenTree::Punct(_)) = tokens.peek() {
                tokens.next();
            }
        }
        Ok(())
    }

    fn alias(&mut self, name: String, path: &[String]) {
        if self.module.is_empty() {
            self.source.aliases.push((name, self.absolute(path.to_vec())));
        }
    }

    fn import(&mut self, path: Vec<String>, line: usize) {
        if path.is_empty() {
            return;
        }
        let path = self.absolute(path);
        let from = self.module.clone();
        self.source.imports.push(Import { from, path, file: self.file.to_path_buf(), line });
    }

    /// `self` and `super` resolved from the module that says them.
    fn absolute(&self, path: Vec<String>) -> Vec<String> {
        let ups = path.iter().take_while(|name| *name == "super" || *name == "self").count();
        if ups == 0 {
            return path;
        }
        let supers = path.iter().take(ups).filter(|name| *name == "super").count();
        let kept = self.module.len().saturating_sub(supers);
        std::iter::once("crate".to_owned())
            .chain(self.module.iter().take(kept).cloned())
            .chain(path.into_iter().skip(ups))
            .collect()
    }
}

/// Takes `::` when it is next.
fn path_separator(tokens: &mut Tokens) -> bool {
    let joint = matches!(
        tokens.peek(),
        Some(TokenTree::Punct(mark)) if mark.as_char() == ':' && mark.spacing() == Spacing::Joint
    );
    if joint {
        tokens.next();
        tokens.next();
    }
    joint
}

fn next_is(tokens: &mut Tokens, mark: char) -> bool {
    matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == mark)
}

/// Whether the parentheses after `pub` say who sees, rather than hold a tuple's field.
fn restricts(group: &Group) -> bool {
    matches!(
        group.stream().into_iter().next(),
        Some(TokenTree::Ident(name)) if ["crate", "self", "super", "in"].iter().any(|word| name == *word)
    )
}

/// Passes over the rest of an item: to its braces where its kind has some, or else to its `;`.
fn skip_item(tokens: &mut Tokens) {
    let mut ends_at_braces = None;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(name) if ends_at_braces.is_none() => {
                ends_at_braces = match name.to_string().as_str() {
                    "fn" | "impl" | "mod" | "struct" | "enum" | "trait" | "union"
                    | "macro_rules" => Some(true),
                    "const" if matches!(tokens.peek(), Some(TokenTree::Ident(next)) if next == "fn" || next == "unsafe") => {
                        None
                    }
                    "use" | "static" | "const" | "type" | "let" => Some(false),
                    _ => None,
                };
            }
            TokenTree::Punct(mark) if mark.as_char() == ';' => return,
            TokenTree::Group(group)
                if group.delimiter() == Delimiter::Brace && ends_at_braces != Some(false) =>
            {
                return;
            }
            _ => {}
        }
    }
}

fn plain(name: &str) -> String {
    name.strip_prefix("r#").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths that `text`, as the file of `module`, names.
    fn named(module: &[&str], text: &str) -> Vec<String> {
        let mut source = Source::default();
        let module = module.iter().map(|name| (*name).to_owned()).collect();
        Scan { file: Path::new("a.rs"), folder: PathBuf::new(), module, source: &mut source }
            .stream(text.parse().unwrap())
            .unwrap();
        source
            .imports
            .iter()
            .map(|import| format!("{}:{}", import.path.join("::"), import.line))
            .collect()
    }

    #[test]
    fn every_branch_of_a_use_counts_with_its_line() {
        let text = "use crate::{event::Event,\n store::{self, Tx as T}, broker::*};";
        assert_eq!(
            named(&["service"], text),
            ["crate::event::Event:1", "crate::store:2", "crate::store::Tx:2", "crate::broker::*:2"]
        );
    }

    #[test]
    fn paths_in_passing_count_inside_macros_too() {
        let text = "fn f() { g(crate::store::open()); assert_eq!(1, crate::service::ONE); }";
        assert_eq!(named(&["event"], text), ["crate::store::open:1", "crate::service::ONE:1"]);
    }

    #[test]
    fn self_and_super_are_resolved() {
        let text = "use super::super::service::Service; use self::a::B; use super::*;";
        assert_eq!(
            named(&["broker", "file"], text),
            ["crate::service::Service:1", "crate::broker::file::a::B:1", "crate::broker::*:1"]
        );
    }

    #[test]
    fn comments_strings_and_visibility_are_no_imports() {
        let text = "/// [`crate::service::A`]\n// crate::service::B\n\
                    pub(in crate::service) const S: &str = \"crate::service::C\"; pub(crate) fn f() {}";
        let named = named(&["event"], text);
        assert!(named.is_empty(), "{named:?}");
    }

    #[test]
    fn what_only_tests_compile_is_passed_over() {
        let text = "#[cfg(test)] use crate::testing::{a, b};\n\
                    #[cfg(test)] mod tests { use crate::testing::c; }\n\
                    #[cfg(test)] const A: u8 = { crate::testing::N };\n\
                    #[test] fn t() { crate::testing::d() }\n\
                    use crate::event::E;";
        assert_eq!(named(&["broker"], text), ["crate::event::E:5"]);
    }

    #[test]
    fn what_follows_a_passed_over_item_counts_again() {
        let text = "#[cfg(test)] fn f<I>(i: I) where I: Iterator<Item = u8> { crate::testing::a() }\n\
                    use crate::event::E;\n#[cfg(test)] const fn g() {}\nuse crate::event::F;";
        assert_eq!(named(&["broker"], text), ["crate::event::E:2", "crate::event::F:4"]);
    }

    #[test]
    fn a_range_hides_no_path() {
        assert_eq!(named(&["x"], "fn f() { a.b.c; 0..crate::store::N }"), ["crate::store::N:1"]);
    }

    #[test]
    fn an_inline_module_is_a_module_of_its_own() {
        assert_eq!(named(&["a"], "mod b { use super::super::store::X; }"), ["crate::store::X:1"]);
    }

    #[test]
    fn generics_and_calls_do_not_confuse_the_reader() {
        let text =
            "fn f(a: Vec<crate::store::Tx>) -> crate::event::E { a.store::<crate::broker::B>() }";
        assert_eq!(
            named(&["x"], text),
            ["crate::store::Tx:1", "crate::event::E:1", "crate::broker::B:1"]
        );
    }
}
