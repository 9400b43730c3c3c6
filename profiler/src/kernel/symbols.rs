//! Where functions of the kernel are: the part of `/proc/kallsyms` that is asked for.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    ops::Range,
};

/// A function of the kernel, by its place among the names asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub addresses: Range<u64>,
    pub name: usize,
}

/// Where the functions of these names are. One may have several parts (`name.isra.0`, `name.part.0`), and one that was
/// compiled into its callers has none.
///
/// # Errors
/// Where the file cannot be read. Who may not see addresses (`kptr_restrict`) finds no function.
pub fn functions(names: &[&str]) -> io::Result<Vec<Function>> {
    find(BufReader::new(File::open("/proc/kallsyms")?), names)
}

fn find(lines: impl BufRead, names: &[&str]) -> io::Result<Vec<Function>> {
    let (mut addresses, mut found) = (Vec::new(), Vec::new());
    for line in lines.lines() {
        let line = line?;
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some("t" | "T" | "w" | "W"), Some(symbol)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Some(address) = u64::from_str_radix(address, 16).ok().filter(|address| *address != 0) else { continue };
        addresses.push(address);
        let base = symbol.split('.').next().unwrap_or_default();
        if let Some(name) = names.iter().position(|name| *name == base) {
            found.push((address, name));
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    let end = |address: u64| addresses.get(addresses.partition_point(|next| *next <= address)).copied();
    Ok(found
        .into_iter()
        .map(|(address, name)| Function { addresses: address..end(address).unwrap_or(u64::MAX), name })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_ends_where_the_next_begins() {
        let text = "ffffffff81000200 T other\nffffffff81000100 t wanted.isra.0\nffffffff81000180 D data\n\
                    ffffffffc0000000 t wanted\t[module]\n0000000000000000 T wanted\nnonsense\n";
        let function = |addresses: Range<u64>| Function { addresses, name: 1 };
        let expected =
            [function(0xffff_ffff_8100_0100..0xffff_ffff_8100_0200), function(0xffff_ffff_c000_0000..u64::MAX)];
        assert_eq!(find(text.as_bytes(), &["absent", "wanted"]).expect("readable"), expected);
    }
}
