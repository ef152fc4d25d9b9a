use super::*;

fn open(folder: &Path) -> FileStorage {
    FileStorage::open(folder).unwrap()
}

#[test]
fn what_is_appended_is_read_back_also_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = open(&folder.path().join("a/b"));
    storage.create(3).unwrap();
    assert_eq!(storage.append(b"one").unwrap(), 3);
    assert_eq!(storage.append(b"two").unwrap(), 3);
    let mut reader = FileSegments::new(&folder.path().join("a/b"));
    let mut buffer = [0; 8];
    assert_eq!(reader.read_at(3, 1, &mut buffer).unwrap(), 5);
    assert_eq!(&buffer[..5], b"netwo");
    assert_eq!(reader.read_at(3, 6, &mut buffer).unwrap(), 0);
    assert_eq!(reader.read_at(3, 60, &mut buffer).unwrap(), 0);
    storage.append(b"!").unwrap();
    assert_eq!(reader.length(3).unwrap(), 7);
    storage.truncate(3, 4).unwrap();
    storage.append(b"X").unwrap();
    assert_eq!(storage.read_at(3, 0, &mut buffer).unwrap(), 5);
    assert_eq!(&buffer[..5], b"onetX");
    storage.close().unwrap();
    assert!(storage.append(b"more").is_err());
}

#[test]
fn segments_are_listed_in_order_and_foreign_files_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = open(folder.path());
    for segment in [10, 2, 1] {
        storage.create(segment).unwrap();
    }
    for foreign in [
        "3.segment",
        "0000000000000000000x.segment",
        "00000000000000000004.segment.bak",
        "notes",
    ] {
        File::create(folder.path().join(foreign)).unwrap();
    }
    assert_eq!(storage.list().unwrap(), [1, 2, 10]);
    assert!(storage.create(2).is_err(), "a segment that exists is never made anew");
    assert!(storage.truncate(4, 0).is_err());
    assert!(storage.read_at(4, 0, &mut [0]).is_err());
    assert!(FileSegments::new(&folder.path().join("absent")).list().is_err());
}

#[test]
fn one_writer_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    assert!(matches!(
        FileStorage::open(folder.path()),
        Err(StorageError::Locked { .. })
    ));
    drop(first);
    open(folder.path());
}

#[test]
fn a_folder_that_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    File::create(&file).unwrap();
    for refused in [file.clone(), file.join("below")] {
        assert!(matches!(FileStorage::open(&refused), Err(StorageError::Folder { .. })));
    }
}

#[cfg(unix)]
#[test]
fn folder_and_segments_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("audit");
    let mut storage = open(&inner);
    storage.create(0).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    assert_eq!(mode(&storage.segments.path(0)), 0o600);
}
