//! Where the functions of a file begin and end.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A function's name and the lines it takes.
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// Every function of a file with a body, nested ones included.
pub fn of(text: &str) -> syn::Result<Vec<Function>> {
    let file = syn::parse_file(text)?;
    let mut found = Found(Vec::new());
    found.visit_file(&file);
    Ok(found.0)
}

struct Found(Vec<Function>);

impl Found {
    fn add(&mut self, name: &syn::Ident, body: &syn::Block, start: usize) {
        let end = body.brace_token.span.close().end().line;
        self.0.push(Function { name: name.to_string(), line: start, lines: end - start + 1 });
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig.ident, &item.block, item.sig.span().start().line);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig.ident, &item.block, item.sig.span().start().line);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.add(&item.sig.ident, body, item.sig.span().start().line);
        }
        visit::visit_trait_item_fn(self, item);
    }
}
