use super::*;

fn own() -> Binary {
    Binary::of_process(std::process::id()).unwrap()
}

fn segments() -> Binary {
    Binary {
        build_id: Vec::new(),
        stripped: true,
        is_pie: true,
        version: None,
        usdts: Vec::new(),
        segments: vec![
            Segment { address: 0, offset: 0, file_size: 0x1f00, executable: false },
            Segment { address: 0x1_2f00, offset: 0x1f00, file_size: 0x2100, executable: true },
            Segment { address: 0x2_08b0, offset: 0x48b0, file_size: 0x2000, executable: false },
        ],
        tables: Vec::new(),
        file: None,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pgstrobe_test_landmark() -> u32 {
    std::hint::black_box(0x5eed)
}

#[test]
fn addresses_of_this_very_program() {
    let binary = own();
    assert_eq!(pgstrobe_test_landmark(), 0x5eed);
    let symbol = binary.symbol("pgstrobe_test_landmark").unwrap();
    assert_eq!(symbol.source, SymbolSource::Symtab);
    let base = binary.load_base(std::process::id()).unwrap();
    let address = pgstrobe_test_landmark as *const () as u64;
    assert_eq!(base.wrapping_add(symbol.address), address);
    let code = binary.code_at(symbol.address, 8).unwrap();
    // SAFETY: the function's own code, which is at least as long as its symbol says.
    let live = unsafe { std::slice::from_raw_parts(address as *const u8, 8.min(symbol.size as usize)) };
    assert_eq!(&code[..live.len()], live);
    assert!(!binary.stripped);
    assert_eq!(binary.symbol("no_such_symbol_here"), None);
    assert_eq!(binary.symbol("malloc").filter(|symbol| symbol.address == 0), None);
}

#[test]
fn file_offsets_follow_the_segments() {
    let binary = segments();
    assert_eq!(binary.file_offset(0x10), Some(0x10));
    assert_eq!(binary.file_offset(0x1_2f10), Some(0x1f10));
    assert_eq!(binary.file_offset(0x2_08b0), Some(0x48b0));
    assert_eq!(binary.file_offset(0x1f00), None);
    assert_eq!(binary.file_offset(u64::MAX), None);
}

#[test]
fn the_load_base_explains_all_mappings() {
    let map =
        |start: u64, offset| Mapping { start, executable: true, offset, id: (1, 2, 3), path: "/usr/bin/postgres" };
    let base = 0x5555_0000_0000;
    // The first page is shared with the segment before.
    let whole = map(base + 0x1_2000, 0x1000);
    let second_half = map(base + 0x1_4000, 0x3000);
    assert_eq!(segments().base_of(&[&whole], 4096), Some(base));
    assert_eq!(segments().base_of(&[&whole, &second_half], 4096), Some(base));
    assert_eq!(segments().base_of(&[&whole, &map(base, 0x3000)], 4096), None);
    assert_eq!(segments().base_of(&[&map(base, 0x4000)], 4096), None);
    assert_eq!(segments().base_of(&[], 4096), None);
    let fixed = Binary { is_pie: false, ..segments() };
    assert_eq!(fixed.base_of(&[&whole], 4096), None);
    assert_eq!(fixed.base_of(&[&map(0x1_2000, 0x1000)], 4096), Some(0));
}

#[test]
fn lines_of_maps() {
    let line =
        "5581e0a00000-5581e0acd000 r--p 00002000 fd:01 1234567                    /usr/lib/a b/postgres (deleted)";
    let mapping = Mapping::parse(line).unwrap();
    assert_eq!((mapping.start, mapping.offset, mapping.id), (0x5581_e0a0_0000, 0x2000, (0xfd, 1, 1_234_567)));
    assert!(!mapping.executable && Mapping::parse(&line.replace("r--p", "r-xp")).unwrap().executable);
    assert_eq!(mapping.path, "/usr/lib/a b/postgres (deleted)");
    assert_eq!(Mapping::parse("7f00-7f01 rw-p 00000000 00:00 0 ").unwrap().path, "");
    for bad in ["", "x", "7f00 rw-p 0 0:0 0", "7f00-7f01 rw-p zz 00:00 0"] {
        assert!(Mapping::parse(bad).is_none(), "{bad}");
    }
}

#[test]
fn names_used_twice() {
    let mut table = Table::default();
    table.insert(b"twice", 1, 4, false);
    table.insert(b"twice", 2, 4, false);
    table.insert(b"alias", 3, 0, false);
    table.insert(b"alias", 3, 8, false);
    table.insert(b"strong", 5, 4, false);
    table.insert(b"strong", 6, 4, true);
    table.insert(b"strong", 7, 4, false);
    assert_eq!(table.get("twice"), None);
    assert_eq!(table.get("alias"), Some((3, 8)));
    assert_eq!(table.get("strong"), Some((6, 4)));
}

#[test]
fn version_texts() {
    let version = |text: &[u8]| version_text(text).map(|version| version.to_string());
    assert_eq!(version(b"x\0postgres (PostgreSQL) 15.18 (Debian 15.18-0)\n\0").as_deref(), Some("15.18"));
    assert_eq!(version(b"postgres (PostgreSQL) \0postgres (PostgreSQL) 18beta1\n").as_deref(), Some("18"));
    let answer = b"PostgreSQL 8.1 is old\0PostgreSQL 16.2 on x86_64-pc-linux-gnu\0";
    assert_eq!(version(answer).as_deref(), Some("16.2"));
    assert_eq!(version(b"PostgreSQL "), None);
    assert_eq!(version(b""), None);
}

#[test]
fn hostile_files_are_errors() {
    let data = std::fs::read("/proc/self/exe").unwrap();
    assert!(Binary::parse(b"").is_err());
    assert!(Binary::parse(b"\x7fELF").is_err());
    assert!(Binary::parse(&[0; 4096]).is_err());
    // Cut short, and with its headers overwritten byte by byte: an error or less content, never a panic.
    for size in [64, 65, 1000, 5000] {
        let _ = Binary::parse(&data[..size.min(data.len())]);
    }
    let head = &data[..data.len().min(4096)];
    for at in 0..800.min(head.len()) {
        let mut broken = head.to_vec();
        broken[at] = 0xff;
        let _ = Binary::parse(&broken);
    }
}

#[test]
fn only_regular_files_of_bounded_size_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, b"12345").unwrap();
    assert_eq!(read_regular(&path, 5).unwrap(), b"12345");
    assert!(read_regular(&path, 4).is_err());
    assert!(read_regular(Path::new("/dev/zero"), 5).is_err());
    assert!(read_regular(directory.path(), 5).is_err());
}

/// Takes this very program apart with binutils, where they are installed, and puts it together again.
#[test]
fn separate_debug_files() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let run = |program: &str, arguments: &[&str]| {
        std::process::Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
    };
    std::fs::copy("/proc/self/exe", at("whole")).unwrap();
    if !run("objcopy", &["--only-keep-debug", &at("whole"), &at("whole.debug")]) {
        return;
    }
    let link = format!("--add-gnu-debuglink={}", at("whole.debug"));
    assert!(run("objcopy", &["--strip-all", &link, &at("whole"), &at("stripped")]));
    let find = || Binary::open(Path::new(&at("stripped"))).unwrap();
    let expected = Binary::open(Path::new(&at("whole"))).unwrap().symbol("pgstrobe_test_landmark").unwrap();
    let symbol = find().symbol("pgstrobe_test_landmark").unwrap();
    assert!(find().stripped);
    assert_eq!((symbol.address, symbol.size), (expected.address, expected.size));
    assert_eq!(symbol.source, SymbolSource::DebugFile(at("whole.debug").into()));

    // Another file of the name is refused.
    let mut other = std::fs::read(at("whole.debug")).unwrap();
    other.push(0);
    std::fs::write(at("whole.debug"), other).unwrap();
    assert_eq!(find().symbol("pgstrobe_test_landmark"), None);

    // A small symbol table inside, as some distributions ship.
    assert!(run("objcopy", &["--strip-debug", &at("whole"), &at("small")]));
    if !run("xz", &["--keep", &at("small")]) {
        return;
    }
    let section = format!(".gnu_debugdata={}", at("small.xz"));
    assert!(run("objcopy", &["--add-section", &section, &at("stripped"), &at("mini")]));
    let symbol = Binary::open(Path::new(&at("mini"))).unwrap().symbol("pgstrobe_test_landmark").unwrap();
    assert_eq!((symbol.address, symbol.source), (expected.address, SymbolSource::DebugData));
}
