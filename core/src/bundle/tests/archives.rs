//! Archives as an attacker makes them (faults B1 and B2).

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use super::*;

/// One entry, byte by byte as it is given: nothing is checked on the way.
fn entry(builder: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, link: &str, content: &[u8]) {
    let mut header = Header::new_ustar();
    let bytes = header.as_mut_bytes();
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    builder.append(&header, content).unwrap();
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(tar).unwrap();
    gzip.finish().unwrap()
}

fn tar_of(kind: EntryType, name: &str, link: &str) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    entry(&mut builder, EntryType::Regular, "data.json", "", b"{}");
    let content: &[u8] = match kind {
        EntryType::Regular | EntryType::Continuous => b"x",
        _ => b"",
    };
    entry(&mut builder, kind, name, link, content);
    builder.into_inner().unwrap()
}

#[test]
fn names_are_paths_below_the_root() {
    for name in [
        "a.txt",
        "/a.txt",
        "./a.txt",
        "a/b.txt",
        "/a/b/c.rego.txt",
        "..a/b..",
        "a b",
    ] {
        take(&gzip(&tar_of(EntryType::Regular, name, ""))).unwrap();
    }
    for name in ["a/", "./", "/", ".", "/a/b/"] {
        take(&gzip(&tar_of(EntryType::Directory, name, ""))).unwrap();
    }
    let long = "x".repeat(65);
    for name in [
        "..", "../a", "a/../b", "/../a", "a/..", "//a", "a//b", "././a", "a/./b", "a\\b", "a\nb", "/", &long,
    ] {
        let said = take(&gzip(&tar_of(EntryType::Regular, name, "")))
            .unwrap_err()
            .to_string();
        assert!(said.contains("is no plain path below the root"), "{name}: {said}");
    }
}

#[test]
fn only_files_and_folders_stand_in_an_archive() {
    let kinds = [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::Continuous,
        EntryType::GNUSparse,
        EntryType::new(b'Z'),
    ];
    for kind in kinds {
        let said = take(&gzip(&tar_of(kind, "a.txt", "/etc/passwd")))
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("special entry") || said.contains("one whole tar"),
            "{kind:?}: {said}"
        );
    }
}

#[test]
fn a_file_stands_once_however_it_is_named() {
    for name in ["data.json", "/data.json", "./data.json"] {
        let said = take(&gzip(&tar_of(EntryType::Regular, name, "")))
            .unwrap_err()
            .to_string();
        assert!(said.contains("the file `data.json` stands twice"), "{name}: {said}");
    }
}

#[test]
fn a_cut_bundle_is_never_taken() {
    let whole = packed(&sample());
    take(&whole).unwrap();
    for end in 0..whole.len() {
        take(&whole[..end]).unwrap_err();
    }
    // The same of the archive inside, under a gzip stream that is whole.
    let tar = archive::tests_gunzip(&whole);
    for end in 0..tar.len() {
        take(&gzip(&tar[..end])).unwrap_err();
    }
}

#[test]
fn a_changed_byte_is_never_taken_for_the_same_and_never_panics() {
    let whole = packed(&sample());
    let digest = take(&whole).unwrap().digest();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x41;
        // Of the gzip head some bytes mean nothing.
        if let Ok(bundle) = take(&changed) {
            assert_eq!(bundle.digest(), digest, "byte {at}");
        }
    }
}

#[test]
fn nothing_stands_behind_the_end() {
    let whole = packed(&sample());
    take(&[&whole[..], b"x"].concat()).unwrap_err();
    take(&[&whole[..], &whole[..]].concat()).unwrap_err();
    let tar = archive::tests_gunzip(&whole);
    take(&gzip(&[&tar[..], &[0; 512]].concat())).unwrap();
    take(&gzip(&[&tar[..], b"x"].concat())).unwrap_err();
    take(&gzip(&[&tar[..], &tar[..]].concat())).unwrap_err();
}

#[test]
fn a_bomb_is_given_up_at_its_bound() {
    // 16 MiB of zeros, which take less than one packed.
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..16 {
        packer.write_all(&zeros).unwrap();
    }
    let bomb = packer.finish().unwrap();
    assert!(bomb.len() < LIMITS.packed_bytes_max);
    assert_eq!(
        take(&bomb).unwrap_err(),
        ArchiveError::Unpacked(LIMITS.unpacked_bytes_max).into()
    );
    let large = vec![0; LIMITS.packed_bytes_max + 1];
    assert_eq!(
        take(&large).unwrap_err(),
        ArchiveError::Packed(LIMITS.packed_bytes_max).into()
    );
    let names: Vec<String> = (0..=LIMITS.files_max).map(|number| format!("{number}.txt")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    take(&packed(&many[1..])).unwrap();
    assert_eq!(
        take(&packed(&many)).unwrap_err(),
        ArchiveError::Files(LIMITS.files_max).into()
    );
    let rules = format!("package portcullis.more\n{}", "x := 1\n".repeat(10_000));
    let said = refusal(&[("a.rego", rules.as_str())]);
    assert_eq!(said, "its Rego files are larger than 65536 bytes together");
    // A size in the header that the archive does not have.
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_ustar();
    header.set_path("data.json").unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    builder.append(&header, &b"{}"[..]).unwrap();
    take(&gzip(&builder.into_inner().unwrap())).unwrap_err();
}
