use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{CONFIG, RESOURCE, Sample, file_system, write};

#[test]
fn the_folder_holds_what_the_configuration_names() {
    let folder = tempfile::tempdir().unwrap();
    for admin in [true, false] {
        let sample = Sample {
            listen: "127.0.0.1:0",
            admin: admin.then_some("127.0.0.1:0"),
            upstream: "http://127.0.0.1:1/mcp",
            issuer: "http://127.0.0.1:2",
            resource: RESOURCE,
            subjects: 3,
        };
        write(folder.path(), &sample).unwrap();
        let config: Value = serde_json::from_slice(&fs::read(folder.path().join(CONFIG)).unwrap()).unwrap();
        assert_eq!(config.get("admin").is_some(), admin);
        let server = &config["servers"][0];
        assert_eq!(server["upstream"]["url"], "http://127.0.0.1:1/mcp");
        let policy = &server["policy"];
        let named = [
            &policy["files"][0],
            &policy["files"][1],
            &policy["data"][0],
            &server["tools"]["file"],
        ];
        for name in named {
            assert!(folder.path().join(name.as_str().unwrap()).is_file(), "{name}");
        }
    }
    let data = fs::read_to_string(folder.path().join("data.json")).unwrap();
    assert!(data.contains("subject-00002") && !data.contains("subject-00003"));
}

#[test]
fn the_file_system_is_that_of_the_nearest_mount() {
    let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/disk xfs rw 0 0\n\
                  tmpfs /over tmpfs rw 0 0\n/dev/vdc /over btrfs rw 0 0\nbroken\n";
    let cases = [
        ("/home/somebody", Some("ext4")),
        ("/tmp/portcullis-compare-1", Some("tmpfs")),
        ("/tmp/disk/portcullis-compare-1", Some("xfs")),
        ("/tmpx", Some("ext4")),
        ("/over/a", Some("btrfs")),
    ];
    for (folder, expected) in cases {
        assert_eq!(file_system(mounts, Path::new(folder)), expected, "{folder}");
    }
    assert_eq!(file_system("", Path::new("/tmp")), None);
}
