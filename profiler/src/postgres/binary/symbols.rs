//! Symbol tables, from wherever they are.

use std::{collections::HashMap, path::PathBuf};

use object::{ObjectSymbol, SymbolKind};

/// Where a symbol was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymbolSource {
    /// `.symtab` of the executable.
    Symtab,
    /// What the executable exports to its extensions.
    Dynsym,
    /// `.gnu_debugdata` of the executable, a compressed small symbol table.
    DebugData,
    /// A separate debug file.
    DebugFile(PathBuf),
}

#[derive(Debug)]
struct Entry {
    address: u64,
    size: u64,
    global: bool,
    ambiguous: bool,
}

/// The defined functions and variables of one symbol table.
#[derive(Debug, Default)]
pub(super) struct Table(HashMap<Box<[u8]>, Entry>);

impl Table {
    pub fn collect<'data>(symbols: impl Iterator<Item = impl ObjectSymbol<'data>>) -> Self {
        let mut table = Self::default();
        for symbol in symbols {
            let Ok(name) = symbol.name_bytes() else { continue };
            if name.is_empty() || symbol.address() == 0 || !symbol.is_definition() || symbol.kind() == SymbolKind::Tls {
                continue;
            }
            table.insert(name, symbol.address(), symbol.size(), symbol.is_global());
        }
        table
    }

    /// A global name wins over static ones; static ones at different places exclude each other.
    pub fn insert(&mut self, name: &[u8], address: u64, size: u64, global: bool) {
        let new = Entry { address, size, global, ambiguous: false };
        let Some(old) = self.0.get_mut(name) else {
            self.0.insert(name.into(), new);
            return;
        };
        match (old.global, global) {
            (false, true) => *old = new,
            (true, false) => {}
            _ if old.address == address => old.size = old.size.max(size),
            _ => old.ambiguous = true,
        }
    }

    /// Address and size.
    pub fn get(&self, name: &str) -> Option<(u64, u64)> {
        self.0.get(name.as_bytes()).filter(|entry| !entry.ambiguous).map(|entry| (entry.address, entry.size))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
